"""Phase training: every model forecasts every window and beyond, each such unit kept on S3. Runs in the worker."""

import logging
import os
import platform
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from contracts.reasons import ModelWeightsMissing
from instance import artifacts
from instance.backtest import Actuals, actuals, history, score
from instance.checkpoints import Checkpoints, Finished, Unit
from instance.checksums import file_sha256
from instance.data_sync import Inputs
from instance.dataset import data_sha256, read_dataset
from instance.hardware import Placement
from instance.models.auto_ets import AutoETS
from instance.models.chronos_zero_shot import WEIGHTS, ChronosZeroShot
from instance.models.interface import Model
from instance.preflight import installed_packages
from instance.reporting import Reporter
from instance.series import SeriesSet, build_series

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """What the training phase needs, and where it writes.

    Parameters
    ----------
    client
        S3, for checkpoints.
    manifest : dict
        manifest.json.
    inputs : Inputs
        Data files and weights.
    placement : Placement
        Device and dtype of the Chronos model.
    results : Path
        Folder that becomes the run's artifacts.
    reporter : Reporter
        Told each forecast series.
    """

    client: Any
    manifest: dict[str, Any]
    inputs: Inputs
    placement: Placement
    results: Path
    reporter: Reporter

    def run(self, details: dict[str, Any]) -> None:
        """Backtest and forecast with each model, and write the result files.

        Raises
        ------
        DatasetInvalid, ModelWeightsMissing
            The data or the weights are not usable.
        """
        request = self.manifest["request"]
        self.reporter.say("Reading the data.")
        series = build_series(*_with_request(read_dataset(self.inputs.files), request))
        what = actuals(series, request["n_windows"])
        units = len(request["models"]) * (request["n_windows"] + 1)
        self.reporter.expect(units * len(series.ids), "series forecasts", "Loading the models.")
        models = {name: self._one_model(name, series, what, details) for name in request["models"]}
        artifacts.write_metadata(self.results, self._metadata(series, models))
        details.update(series=len(series.ids), units=units, models=list(models))

    def _one_model(self, name: str, series: SeriesSet, what: Actuals, details: dict[str, Any]) -> dict[str, Any]:
        request = self.manifest["request"]
        checkpoints = self._checkpoints(name, series)
        with self._opened(name, series) as model:
            done = [
                self._unit(model, Unit(name, window), series, checkpoints, details)
                for window in range(request["n_windows"] + 1)
            ]
            windows, final = done[:-1], done[-1].forecast
            levels = request["quantile_levels"]
            artifacts.write_backtest(self.results, name, series, what, windows, levels=levels)
            artifacts.write_forecast(self.results, name, series, final, levels)
            artifacts.write_model(self.results, model, series, final)
            caveats = model.caveats(series.prediction_length, levels)
        return {
            "metrics": score(what, windows, series, request),
            "seconds": round(sum(unit.seconds for unit in done), 3),
            "backtest_path": artifacts.backtest_path(name),
            "forecast_path": artifacts.forecast_path(name),
            "series_failed": max(unit.forecast.failed for unit in done),
            "notes": caveats,
        }

    def _unit(
        self, model: Model, unit: Unit, series: SeriesSet, checkpoints: Checkpoints, details: dict[str, Any]
    ) -> Finished:
        request = self.manifest["request"]
        last = unit.window == request["n_windows"]
        where = "beyond the data" if last else f"window {unit.window + 1} of {request['n_windows']}"
        self.reporter.say(f"{unit.model}, {where}.")
        resumed = checkpoints.load(unit)
        if resumed is not None:
            details["units_resumed"] = details.get("units_resumed", 0) + 1
            self.reporter.advance(len(series.ids))
            return resumed
        began = time.monotonic()
        known = history(series, unit.window, request["n_windows"])
        # Before each unit, so that one computed after a resume is the one that a whole attempt computes.
        seed_everything(request["seed"])
        forecast = model.forecast(known, series.prediction_length, request["quantile_levels"], self.reporter.advance)
        finished = Finished(forecast, time.monotonic() - began)
        try:
            checkpoints.save(unit, finished)
        except (ClientError, BotoCoreError):
            # Only a later attempt misses it; this one holds the forecast.
            logger.warning("checkpoint %s could not be uploaded", unit.stem, exc_info=True)
        return finished

    @contextmanager
    def _opened(self, name: str, series: SeriesSet) -> Iterator[Model]:
        model: Model
        if name == ChronosZeroShot.name:
            if self.inputs.weights is None:
                raise ModelWeightsMissing(f"{name}: expected weights in the manifest, found none. Start a new run.")
            model = ChronosZeroShot(self.inputs.weights, self.placement)
        else:
            model = AutoETS(series.season_length, cores=os.cpu_count() or 1)
        try:
            yield model
        finally:
            model.close()

    def _checkpoints(self, name: str, series: SeriesSet) -> Checkpoints:
        request = self.manifest["request"]
        depends_on = {
            "model": name,
            "data": data_sha256(self.inputs.files),
            "weights": self._weights_sha256() if name == ChronosZeroShot.name else None,
            "dtype": self.placement.dtype if name == ChronosZeroShot.name else None,
            "environment": installed_packages().sha256,
            "series": [series.frequency.alias, series.season_length, series.prediction_length],
            "request": {key: request[key] for key in ("freq", "n_windows", "quantile_levels", "seed")},
        }
        levels = request["quantile_levels"]
        return Checkpoints(self.client, self.manifest["bucket"], self.manifest["prefix"], depends_on, levels)

    def _weights_sha256(self) -> str | None:
        path = self.inputs.weights / WEIGHTS if self.inputs.weights else None
        return file_sha256(path) if path and path.is_file() else None

    def _metadata(self, series: SeriesSet, models: dict[str, Any]) -> dict[str, Any]:
        manifest, environment = self.manifest, installed_packages()
        data = artifacts.describe_data(
            manifest["dataset"]["name"],
            data_sha256(self.inputs.files),
            series,
            manifest["request"]["n_windows"],
        )
        return {
            "schema_version": 1,
            "run_id": manifest["run_id"],
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "request": manifest["request"],
            "data": data,
            "environment": {
                "sha256": environment.sha256,
                "packages": environment.packages,
                "python": platform.python_version(),
                "device": self.placement.device,
                "dtype": self.placement.dtype,
            },
            "models": models,
            "lineage": {
                "parent_run_id": None,
                "chronos_weights": self.inputs.weights.name if self.inputs.weights else None,
                "chronos_weights_sha256": self._weights_sha256(),
            },
        }


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, and let PyTorch use every core."""
    import torch  # noqa: PLC0415

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(os.cpu_count() or 1)


def _with_request(read: tuple[Any, list[str]], request: dict[str, Any]) -> tuple[Any, dict[str, Any], list[str]]:
    frame, notes = read
    return frame, request, notes
