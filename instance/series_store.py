"""Regular series on disk, read chunk by chunk or at random. Runs on the instance, in the worker."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from instance.frequency import Frequency
from instance.regular import Regular
from instance.series import SeriesSet
from instance.spool import write_array

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Flat files: `python -m benchmarks.storage_format` reads them 2 times as fast as Arrow and 10 times as fast as Parquet.
MAX_CHUNK_SERIES = 256
MIN_CHUNKS = 8
INFO = "store.json"
# Files of a store and attributes of `Regular`.
ARRAYS = ("values", "observed", "lengths", "first", "past", "known", "ahead")


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds.

    Parameters
    ----------
    frequency : Frequency
    season_length, prediction_length : int
        Steps.
    n_series, rows : int
        Series, and values of them that were observed.
    notes : list of str
        What was done to the data, with counts.
    counts : dict
        The same as numbers; docs/datasets.md names them.
    first_ds, last_ds : str
        First and last timestamp of all series, to the second.
    past_names, known_names : list of str
        Covariates, in the order of the arrays.
    """

    frequency: Frequency
    season_length: int
    prediction_length: int
    n_series: int
    rows: int
    notes: list[str]
    counts: dict[str, int]
    first_ds: str
    last_ds: str
    past_names: list[str]
    known_names: list[str]


@dataclass(frozen=True)
class FlatSeries:
    """All series end to end, mapped from disk for random access.

    Parameters
    ----------
    values : float64 array, shape (total,)
    starts : int64 array, shape (n_series + 1,)
        Where each series begins in the arrays, in the order of the sorted names, and their end.
    past : float64 array, shape (n_past, total), or None
    known : float64 array, shape (n_known, total), or None
        Without the values beyond the last one of a series.
    """

    values: Floats
    starts: Integers
    past: Floats | None
    known: Floats | None


class StoreWriter:
    """Appends regular series, in the order of their names, to the files of a store.

    The description is written last: a folder without it is no store.

    Parameters
    ----------
    folder : Path
        Made if need be.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INFO).unlink(missing_ok=True)
        self._folder = folder
        self._files: dict[str, BinaryIO] = {name: (folder / name).open("wb", buffering=0) for name in ARRAYS}
        self._ids: list[Any] = []

    def append(self, ids: Sequence[str], made: Regular) -> None:
        """Append series."""
        for name, file in self._files.items():
            write_array(file, getattr(made, name))
        self._ids.append(pa.array(ids, pa.large_string()))

    def finish(self, info: StoreInfo) -> None:
        """Write the names and the description."""
        table = pa.table({"unique_id": pa.chunked_array(self._ids, pa.large_string())})
        with pa.OSFile(str(self._folder / "ids.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
        self.close()
        whole = self._folder / f"{INFO}.part"
        whole.write_text(json.dumps({**asdict(info), "frequency": info.frequency.alias}))
        whole.replace(self._folder / INFO)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; without `finish` they are no store."""
        for file in self._files.values():
            file.close()


class SeriesStore:
    """A store that was written to the end.

    Parameters
    ----------
    folder : Path

    Raises
    ------
    FileNotFoundError
        The folder holds no store, or only a part of one.
    """

    def __init__(self, folder: Path) -> None:
        described = json.loads((folder / INFO).read_text())
        self.info = StoreInfo(**{**described, "frequency": Frequency(described["frequency"])})
        self._folder = folder
        self._starts = np.concatenate([[0], np.cumsum(np.fromfile(folder / "lengths", dtype=np.int64))])
        self._first = np.fromfile(folder / "first", dtype="datetime64[ns]")
        with pa.OSFile(str(folder / "ids.arrow")) as file:
            self._ids = pa.ipc.open_file(file).read_all().column("unique_id")

    @property
    def chunks(self) -> int:
        """How many chunks there are; at least 8 where there are as many series, so that each is a step of a run."""
        return -(-self.info.n_series // self._chunk_series)

    @property
    def _chunk_series(self) -> int:
        return min(MAX_CHUNK_SERIES, -(-self.info.n_series // MIN_CHUNKS))

    def chunk(self, index: int) -> SeriesSet:
        """Return the series of a chunk, read into memory; chunks follow the order of the names."""
        low = index * self._chunk_series
        return self.read(low, min(low + self._chunk_series, self.info.n_series))

    def flat(self) -> FlatSeries:
        """Return all series, for random access."""
        past, known = len(self.info.past_names), len(self.info.known_names)
        return FlatSeries(
            values=self._mapped("values"),
            starts=self._starts,
            past=self._mapped("past").reshape(-1, past).T if past else None,
            known=self._mapped("known").reshape(-1, known).T if known else None,
        )

    def read(self, low: int, high: int) -> SeriesSet:
        """Return series `low` to `high` (not included) in the order of the names, read into memory."""
        bounds = self._starts[low : high + 1]
        steps = (bounds - bounds[0]).tolist()
        return SeriesSet(
            ids=self._ids.slice(low, high - low).to_pylist(),
            values=_split(self._slice("values", bounds[0], bounds[-1], np.float64), steps),
            observed=_split(self._slice("observed", bounds[0], bounds[-1], np.bool_), steps),
            first=self._first[low:high],
            frequency=self.info.frequency,
            season_length=self.info.season_length,
            prediction_length=self.info.prediction_length,
            past=self._covariates("past", len(self.info.past_names), bounds, steps),
            known=self._known(low, high, bounds, steps),
        )

    def _known(self, low: int, high: int, bounds: Integers, steps: list[int]) -> list[Floats] | None:
        count, horizon = len(self.info.known_names), self.info.prediction_length
        seen = self._covariates("known", count, bounds, steps)
        if seen is None:
            return None
        ahead = self._slice("ahead", low * horizon * count, high * horizon * count, np.float64)
        beyond = ahead.reshape(-1, horizon, count).transpose(0, 2, 1)
        return [np.concatenate(parts, axis=1) for parts in zip(seen, beyond, strict=True)]

    def _covariates(self, name: str, count: int, bounds: Integers, steps: list[int]) -> list[Floats] | None:
        if not count:
            return None
        flat = self._slice(name, bounds[0] * count, bounds[-1] * count, np.float64)
        return _split(np.ascontiguousarray(flat.reshape(-1, count).T), steps)

    def _slice(self, name: str, begin: int, end: int, kind: type[np.generic]) -> npt.NDArray[Any]:
        size = np.dtype(kind).itemsize
        return np.fromfile(self._folder / name, dtype=kind, count=int(end - begin), offset=int(begin * size))

    def _mapped(self, name: str) -> Floats:
        return np.memmap(self._folder / name, dtype=np.float64, mode="r")


def series_of(store: SeriesStore) -> SeriesSet:
    """Return every series of a store at once, for data that fits into memory."""
    return store.read(0, store.info.n_series)


def _split(flat: npt.NDArray[Any], steps: list[int]) -> list[npt.NDArray[Any]]:
    """Cut (..., steps) into series."""
    return [flat[..., begin:end] for begin, end in pairwise(steps)]
