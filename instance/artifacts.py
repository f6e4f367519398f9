"""Write a run's result files: forecasts, backtests, models, metadata. Runs on the instance, in the worker."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contracts import layout
from contracts.documents import dump
from instance.backtest import Actuals
from instance.checkpoints import Finished, quantile_columns
from instance.models.interface import Floats, Forecast, Model
from instance.series import SeriesSet


def forecast_path(model: str) -> str:
    """Return the path of a model's forecasts below the run's prefix."""
    return f"forecasts/{model}.parquet"


def backtest_path(model: str) -> str:
    """Return the path of a model's backtest below the run's prefix."""
    return f"backtest/{model}.parquet"


def write_forecast(folder: Path, model: str, series: SeriesSet, final: Forecast, levels: Sequence[float]) -> None:
    """Write the forecast beyond the data: unique_id, ds, point, q..."""
    horizon = series.prediction_length
    times = [series.times(i, len(values), len(values) + horizon) for i, values in enumerate(series.values)]
    columns = {
        "unique_id": np.repeat(np.array(series.ids, dtype=object), horizon),
        "ds": np.concatenate(times),
        **_predicted(final.point, final.quantiles, levels),
    }
    _write(folder / forecast_path(model), columns)


def write_backtest(
    folder: Path, model: str, series: SeriesSet, what: Actuals, windows: list[Finished], *, levels: Sequence[float]
) -> None:
    """Write what was forecast in each window beside what came: unique_id, ds, cutoff, y, point, q..."""
    n_windows, count, horizon = what.y.shape
    point = np.stack([window.forecast.point for window in windows])
    quantiles = np.stack([window.forecast.quantiles for window in windows])
    columns = {
        "unique_id": np.tile(np.repeat(np.array(series.ids, dtype=object), horizon), n_windows),
        "ds": what.times.ravel(),
        "cutoff": np.repeat(what.cutoffs.ravel(), horizon),
        "y": what.y.ravel(),
        **_predicted(point.reshape(n_windows * count, horizon), quantiles.reshape(-1, horizon, len(levels)), levels),
    }
    _write(folder / backtest_path(model), columns)


def write_model(folder: Path, model: Model, series: SeriesSet, final: Forecast) -> None:
    """Write what describes the model, as JSON, below models/<name>/."""
    model.save(folder / "models" / model.name, series.ids, final)


def write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Write model_metadata.json; raises DocumentInvalid when it does not follow its contract."""
    (folder / layout.MODEL_METADATA).write_bytes(dump("model_metadata", metadata))


def describe_data(name: str, sha256: str, series: SeriesSet, n_windows: int) -> dict[str, Any]:
    """Return the `data` part of model_metadata.json."""
    firsts = series.first
    lasts = [series.times(i, len(values) - 1, len(values))[0] for i, values in enumerate(series.values)]
    return {
        "dataset": name,
        "sha256": sha256,
        "series": len(series.ids),
        "rows": series.rows,
        "freq": series.frequency.alias,
        "season_length": series.season_length,
        "prediction_length": series.prediction_length,
        "n_windows": n_windows,
        "first_ds": str(min(firsts).astype("datetime64[s]")),
        "last_ds": str(max(lasts).astype("datetime64[s]")),
        "notes": series.notes,
    }


def result_files(folder: Path) -> list[tuple[str, Path]]:
    """Return every file below `folder` with its path relative to it, sorted, model_metadata.json last."""
    files = [(path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file()]
    return sorted(files, key=lambda file: (file[0] == layout.MODEL_METADATA, file[0]))


def _predicted(point: Floats, quantiles: Floats, levels: Sequence[float]) -> dict[str, Any]:
    columns: dict[str, Any] = {"point": point.ravel()}
    for index, name in enumerate(quantile_columns(levels)):
        columns[name] = quantiles[..., index].ravel()
    return columns


def _write(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(columns).to_parquet(path, index=False)
