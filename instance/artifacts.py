"""Write a run's result files, chunk after chunk. Runs on the instance, in the worker."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts import layout
from contracts.documents import dump
from instance.actuals import Actuals
from instance.frequency import Times
from instance.models.interface import Floats, Forecast
from instance.series import SeriesSet

ROWS_IN_GROUP = 1 << 17
REPEATED = ["unique_id", "ds", "cutoff"]


def forecast_path(model: str) -> str:
    """Return the path of a model's forecasts below the machine's folder."""
    return f"forecasts/{model}.parquet"


def backtest_path(model: str) -> str:
    """Return the path of a model's backtest below the machine's folder."""
    return f"backtest/{model}.parquet"


def model_folder(model: str) -> str:
    """Return the folder of what describes a model, below the machine's folder."""
    return f"models/{model}"


def quantile_columns(levels: Sequence[float]) -> list[str]:
    """Return the column names of quantiles: q0.1, q0.5 ..., every digit of the level, so that no two are the same."""
    return [f"q{level}" for level in levels]


class ResultWriter:
    """Writes forecasts, backtest and parameters of one model, sorted by unique_id, cutoff and ds.

    Parameters
    ----------
    folder : Path
        Becomes the run's artifacts.
    model : str
        Name of the model.
    levels : sequence of float
        Quantile levels.
    """

    def __init__(self, folder: Path, model: str, levels: Sequence[float]) -> None:
        self.levels = levels
        self.forecasts = _Table(folder / forecast_path(model))
        self.backtest = _Table(folder / backtest_path(model))
        self.parameters = _Table(folder / model_folder(model) / "parameters.parquet")

    def add(self, series: SeriesSet, what: Actuals, forecasts: Sequence[Forecast]) -> None:
        """Write a chunk.

        Parameters
        ----------
        series : SeriesSet
            Its n_series series.
        what : Actuals
            What came in each window.
        forecasts : sequence of Forecast
            One a window, and last the one beyond the data.
        """
        *windows, final = forecasts
        self._add_forecast(series, final)
        self._add_backtest(series, what, windows)
        if final.parameters:
            told = [json.dumps(one, allow_nan=False) for one in final.parameters]
            self.parameters.add({"unique_id": series.ids, "parameters": told})

    def close(self) -> None:
        """Write what is left and end the files."""
        for table in (self.forecasts, self.backtest, self.parameters):
            table.close()

    def _add_forecast(self, series: SeriesSet, final: Forecast) -> None:
        horizon = final.point.shape[1]
        self.forecasts.add({
            "unique_id": _repeated(series.ids, horizon),
            "ds": _future_times(series).ravel(),
            **self._predicted(final.point, final.quantiles),
        })  # fmt: skip

    def _add_backtest(self, series: SeriesSet, what: Actuals, windows: Sequence[Forecast]) -> None:
        n_windows, _, horizon = what.y.shape
        self.backtest.add({
            "unique_id": _repeated(series.ids, n_windows * horizon),
            "ds": _by_series(what.times),
            "cutoff": np.repeat(_by_series(what.cutoffs), horizon),
            "y": _by_series(what.y),
            **self._predicted(
                np.stack([one.point for one in windows], axis=1), np.stack([one.quantiles for one in windows], axis=1)
            ),
        })  # fmt: skip

    def _predicted(self, point: Floats, quantiles: Floats) -> dict[str, Any]:
        by_level = np.moveaxis(quantiles, -1, 0).reshape(len(self.levels), -1)
        return {"point": point.ravel(), **dict(zip(quantile_columns(self.levels), by_level, strict=True))}


def write_metadata(folder: Path, metadata: dict[str, Any]) -> None:
    """Write model_metadata.json; raises DocumentInvalid when it does not follow its contract."""
    (folder / layout.MODEL_METADATA).write_bytes(dump("model_metadata", metadata))


def result_files(folder: Path) -> list[tuple[str, Path]]:
    """Return every file below `folder` with its path relative to it, sorted, model_metadata.json last."""
    files = [(path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file()]
    return sorted(files, key=lambda file: (file[0] == layout.MODEL_METADATA, file[0]))


class _Table:
    """A Parquet file that grows by chunks, which are put together to row groups of a useful size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.writer: Any = None
        self.waiting: list[Any] = []

    def add(self, columns: dict[str, Any]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - a tenth of a second to import

        self.waiting.append(pa.table(columns))
        if sum(table.num_rows for table in self.waiting) >= ROWS_IN_GROUP:
            self._write()

    def close(self) -> None:
        if self.waiting:
            self._write()
        if self.writer is not None:
            self.writer.close()

    def _write(self) -> None:
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import parquet  # noqa: PLC0415

        table = pa.concat_tables(self.waiting)
        self.waiting = []
        if self.writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            repeated = [name for name in REPEATED if name in table.column_names]
            # Forecasts hardly repeat: looking for a dictionary in them takes longer than writing them.
            self.writer = parquet.ParquetWriter(self.path, table.schema, use_dictionary=repeated, store_schema=False)
        self.writer.write_table(table)


def _repeated(ids: Sequence[str], times: int) -> Any:
    """Return each id `times` times, as a dictionary of the ids."""
    import pyarrow as pa  # noqa: PLC0415

    indices = np.repeat(np.arange(len(ids), dtype=np.int32), times)
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(ids, pa.string())).cast(pa.string())


def _by_series(windows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Flatten (n_windows, n_series, ...) with the series outermost."""
    return np.swapaxes(windows, 0, 1).ravel()


def _future_times(series: SeriesSet) -> Times:
    """Return the timestamps beyond the data: (n_series, horizon)."""
    lengths = np.array([len(values) for values in series.values], dtype=np.int64)
    steps = lengths[:, np.newaxis] + np.arange(series.prediction_length)
    return series.frequency.times(np.array(series.first)[:, np.newaxis], steps)
