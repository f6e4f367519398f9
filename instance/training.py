"""Phase training: read the data, fine-tune, forecast every window and beyond, compare. Runs in the worker."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.models import CHRONOS, ENSEMBLE, FINE_TUNED, members
from instance import artifacts
from instance.checkpoints import Checkpoints
from instance.checksums import file_sha256
from instance.data_sync import Inputs
from instance.dataset import data_sha256
from instance.ensembling import Blend, choose_weights
from instance.fine_tuning.checkpoints import FineTuningCheckpoints
from instance.fine_tuning.settings import StepReport, settings_of
from instance.forecasting import Forecasting, by_model, seed_everything
from instance.hardware import Placement
from instance.ingest import ingest
from instance.lanes import Lane, plan
from instance.metadata import Described, describe
from instance.models.catalog import Setting, build
from instance.models.chronos_fine_tuned import ChronosFineTuned
from instance.models.chronos_folder import WEIGHTS
from instance.models.core_pool import CorePool
from instance.models.interface import Model
from instance.preflight import installed_packages
from instance.reporting import Reporter
from instance.series_store import SeriesStore
from instance.storage import Storage

LAST_UPLOADS_SECONDS = 15.0
# What else of a request changes the forecasts of some models only.
FINE_TUNING_FIELDS = (
    "fine_tuning_mode", "fine_tuning_steps", "fine_tuning_learning_rate", "fine_tuning_batch_size",
    "fine_tuning_accumulation", "fine_tuning_patience",
)  # fmt: skip
FORECAST_FIELDS = ("freq", "n_windows", "quantile_levels", "seed", "past_covariates", "known_covariates")


@dataclass(frozen=True)
class Training:
    """What the training phase needs, and where it writes.

    Parameters
    ----------
    client
        S3, for checkpoints.
    manifest : dict
        manifest.json.
    storage : Storage
        Where checkpoints go and where earlier attempts left theirs.
    inputs : Inputs
        Data files and weights.
    placement : Placement
        Device and dtype of the Chronos models.
    work_dir : Path
        Results go to results/ below it, and become the run's artifacts; the rest is scratch.
    reporter : Reporter
        Told each forecast series.
    """

    client: Any
    manifest: dict[str, Any]
    storage: Storage
    inputs: Inputs
    placement: Placement
    work_dir: Path
    reporter: Reporter

    def run(self, details: dict[str, Any]) -> None:
        """Backtest and forecast with each model, and write the result files.

        Raises
        ------
        DatasetInvalid, ModelWeightsMissing, TrainingDiverged, OutOfMemory
            The data, the weights or the settings are not usable here.
        """
        request = self.manifest["request"]
        self.reporter.expect(None, "rows", "Reading the data.")
        store = ingest(self.inputs.files, request, self.work_dir / "series", self.reporter.advance)
        self.reporter.say("Loading the models.")
        with ExitStack() as ending:
            pool = CorePool(os.cpu_count() or 1)
            ending.callback(pool.close)
            setting = Setting(request, store.info.season_length, self.placement, self.inputs.weights, pool)
            models: dict[str, Model] = {}
            for name in members(request["models"]):
                models[name] = build(name, setting)
                ending.callback(models[name].close)
            self._forecast(store, models, details, ending)

    def _forecast(
        self, store: SeriesStore, models: dict[str, Model], details: dict[str, Any], ending: ExitStack
    ) -> None:
        request, results = self.manifest["request"], self.work_dir / "results"
        checkpoints = {name: self._checkpoints(name, store) for name in models}
        for kept in checkpoints.values():
            ending.callback(kept.close, LAST_UPLOADS_SECONDS)
        tuned = self._fine_tune(store, models, details)
        work = Forecasting(store, request, results, checkpoints, self.reporter)
        forecaster = by_model(models, store.info.prediction_length, request["quantile_levels"], request["seed"])
        work.forecast(plan(list(models), self.placement.device), forecaster, f"Forecasting with {', '.join(models)}.")
        described = {name: Described.of(model, store, request) for name, model in models.items()}
        if ENSEMBLE in request["models"]:
            described[ENSEMBLE] = self._blend(store, work, checkpoints)
        for name, model in models.items():
            model.save(results / artifacts.model_folder(name))
        if tuned is not None:
            work.done[FINE_TUNED].seconds += tuned["seconds"]
        metadata = describe(
            self.manifest, store, work.done, described, data_sha256(self.inputs.files), self.placement
        ) | {"lineage": self._lineage(tuned)}
        artifacts.write_metadata(results, metadata)
        details.update(series=store.info.n_series, chunks=store.chunks, models=request["models"])
        if work.resumed:
            details["units_resumed"] = work.resumed

    def _fine_tune(
        self, store: SeriesStore, models: dict[str, Model], details: dict[str, Any]
    ) -> dict[str, Any] | None:
        model = models.get(FINE_TUNED)
        if not isinstance(model, ChronosFineTuned):
            return None
        request = self.manifest["request"]
        settings = settings_of(request, store.info.prediction_length, request["n_windows"])
        self.reporter.expect(request["fine_tuning_steps"], "fine-tuning steps", f"{FINE_TUNED}: fine-tuning.")
        kept = FineTuningCheckpoints(
            self.client, self.storage, self.work_dir / "fine-tuning", self._depends_on(FINE_TUNED, store)
        )
        told = _StepTold(self.reporter)
        seed_everything(request["seed"])
        summary = model.train(store.flat(), settings, kept, told)
        details["fine_tuning"] = summary.as_dict()
        return summary.as_dict()

    def _blend(self, store: SeriesStore, work: Forecasting, checkpoints: dict[str, Checkpoints]) -> Described:
        request = self.manifest["request"]
        self.reporter.say(f"{ENSEMBLE}: weighing the models.")
        blend = Blend(choose_weights(store, request, checkpoints), checkpoints)
        work.forecast([Lane((ENSEMBLE,), 1)], blend, f"{ENSEMBLE}: blending the forecasts.")
        blend.ensemble.save(self.work_dir / "results" / artifacts.model_folder(ENSEMBLE))
        return Described(notes=blend.ensemble.caveats(), ignored=[])

    def _checkpoints(self, name: str, store: SeriesStore) -> Checkpoints:
        return Checkpoints(self.client, self.storage, self.work_dir, self._depends_on(name, store))

    def _depends_on(self, name: str, store: SeriesStore) -> dict[str, Any]:
        request, info = self.manifest["request"], store.info
        fields = [*FORECAST_FIELDS, *(FINE_TUNING_FIELDS if name == FINE_TUNED else ())]
        if name not in CHRONOS:
            fields.append("refit")
        return {
            "model": name,
            "data": data_sha256(self.inputs.files),
            "weights": self._weights_sha256() if name in CHRONOS else None,
            "dtype": self.placement.dtype if name in CHRONOS else None,
            "environment": installed_packages().sha256,
            "series": [info.frequency.alias, info.season_length, info.prediction_length, info.n_series, store.chunks],
            "request": {key: request[key] for key in fields},
        }

    def _weights_sha256(self) -> str | None:
        path = self.inputs.weights / WEIGHTS if self.inputs.weights else None
        return file_sha256(path) if path and path.is_file() else None

    def _lineage(self, tuned: dict[str, Any] | None) -> dict[str, Any]:
        return {
            "parent_run_id": None,
            "chronos_weights": self.inputs.weights.name if self.inputs.weights else None,
            "chronos_weights_sha256": self._weights_sha256(),
            "fine_tuning": tuned,
        }


class _StepTold:
    """Passes the steps of the fine-tuning on, those of an earlier attempt at once."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.step = 0

    def __call__(self, report: StepReport) -> None:
        self.reporter.measure(loss=report.loss, series_per_second=report.series_per_second)
        self.reporter.advance(report.step - self.step)
        self.step = report.step
