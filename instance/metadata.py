"""The document model_metadata.json: what was trained on what, with what, and how good it was. Runs in the worker."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from instance.artifacts import backtest_path, forecast_path
from instance.forecasting import ModelResult
from instance.hardware import Placement
from instance.leaderboard import LOSSES, leaderboard, sentences
from instance.metrics import metrics
from instance.models.catalog import ignored_covariates, refitted
from instance.models.interface import Model
from instance.preflight import installed_packages
from instance.scores import SeriesScores
from instance.series_store import SeriesStore

Document = dict[str, Any]

# A document stays small whatever the data: many files with a note each, names of series as long as somebody likes.
MOST_NOTES = 100
NOTE_LENGTH = 500
NAME_LENGTH = 200


@dataclass(frozen=True)
class Described:
    """What a model says of itself: caveats, and the covariates of the request that it ignored."""

    notes: list[str]
    ignored: list[str]

    @classmethod
    def of(cls, model: Model, store: SeriesStore, request: Document) -> "Described":
        """Ask a model."""
        caveats = model.caveats(store.info.prediction_length, request["quantile_levels"])
        return cls(caveats, ignored_covariates(model, request))


def describe(
    manifest: Document,
    store: SeriesStore,
    results: Mapping[str, ModelResult],
    described: Mapping[str, Described],
    data_sha256: str,
    placement: Placement,
) -> Document:
    """Return the document without its lineage.

    Parameters
    ----------
    manifest : dict
        manifest.json.
    store : SeriesStore
        The series.
    results : mapping of str to ModelResult
        What each model gave, by name.
    described : mapping of str to Described
        What each says of itself.
    data_sha256 : str
        Hash of the data files.
    placement : Placement
        Device and dtype.
    """
    request, environment = manifest["request"], installed_packages()
    scores = {name: results[name].tally.total() for name in request["models"]}
    return {
        "schema_version": 1,
        "run_id": manifest["run_id"],
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "request": request,
        "data": _data(manifest["dataset"]["name"], data_sha256, store, request["n_windows"]),
        "environment": {
            "sha256": environment.sha256,
            "packages": environment.packages,
            "python": platform.python_version(),
            "device": placement.device,
            "dtype": placement.dtype,
        },
        "models": {
            name: _model(name, results[name], scores[name], described[name], store, request)
            for name in request["models"]
        },
        "leaderboard": _leaderboard(scores, request),
    }


def _data(name: str, sha256: str, store: SeriesStore, n_windows: int) -> Document:
    info = store.info
    return {
        "dataset": name,
        "sha256": sha256,
        "series": info.n_series,
        "rows": info.rows,
        "freq": info.frequency.alias,
        "season_length": info.season_length,
        "prediction_length": info.prediction_length,
        "n_windows": n_windows,
        "first_ds": info.first_ds,
        "last_ds": info.last_ds,
        "counts": info.counts,
        "notes": shortened(info.notes),
    }


def _model(
    name: str, result: ModelResult, scores: SeriesScores, told: Described, store: SeriesStore, request: Document
) -> Document:
    return {
        "metrics": metrics(scores, request["metrics"], store.info.frequency.periods_per_year),
        "seconds": round(result.seconds, 3),
        "backtest_path": backtest_path(name),
        "forecast_path": forecast_path(name),
        "series_failed": result.failed,
        "failed_series": {name[:NAME_LENGTH]: why[:NOTE_LENGTH] for name, why in result.failures.items()},
        "refit": refitted(name, request),
        "ignored_covariates": told.ignored,
        "notes": shortened(told.notes),
    }


def shortened(notes: list[str]) -> list[str]:
    """Return notes as the contract takes them: so many, none too long; the last one counts those left out."""
    cut = [note[:NOTE_LENGTH] for note in notes]
    if len(cut) <= MOST_NOTES:
        return cut
    return [*cut[: MOST_NOTES - 1], f"{len(cut) - MOST_NOTES + 1} more notes."]


def _leaderboard(scores: Mapping[str, SeriesScores], request: Document) -> Document:
    wanted = next((name for name in ("mase", *LOSSES) if name in request["metrics"]), "mase")
    rows = leaderboard(scores, wanted, request["seed"])
    n_series = len(next(iter(scores.values())))
    return {"rows": rows, "sentences": sentences(rows, n_series)}
