"""Compare on-disk forms of regular series: speed of reading and writing, and size. Runs on a developer's computer.

python -m benchmarks.storage_format [--series 20000] [--length 512]
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]

CHUNK_SERIES = 256
CONTEXT = 128
WINDOWS = 2_000
ROUNDS = 5


class Form(Protocol):
    """A way to keep series of one length on disk."""

    name: str

    def write(self, path: Path, values: Floats) -> None:
        """Write values, shape (n_series, length)."""

    def chunks(self, path: Path) -> float:
        """Read every chunk once, and return the sum of all values."""

    def windows(self, path: Path, places: Sequence[tuple[int, int]], length: int) -> float:
        """Read `CONTEXT` values from each (series, start), and return their sum."""


class Flat:
    """Values end to end, as `instance.series_store` keeps them."""

    name = "flat binary"

    def write(self, path: Path, values: Floats) -> None:
        """Write the bytes."""
        values.tofile(path)

    def chunks(self, path: Path) -> float:
        """Read a stretch of bytes a chunk."""
        length = _length(path)
        total, offset, size = 0.0, 0, path.stat().st_size
        while offset < size:
            flat = np.fromfile(path, count=CHUNK_SERIES * length, offset=offset)
            total, offset = total + float(flat.sum()), offset + flat.nbytes
        return total

    def windows(self, path: Path, places: Sequence[tuple[int, int]], length: int) -> float:
        """Map the file and slice it."""
        mapped = np.memmap(path, dtype=np.float64, mode="r")
        return float(sum(mapped[i * length + a : i * length + a + CONTEXT].sum() for i, a in places))


class ArrowFile:
    """A list column in Arrow's file format, a record batch a chunk."""

    name = "Arrow IPC"

    def write(self, path: Path, values: Floats) -> None:
        """Write a record batch a chunk."""
        batches = [_list_batch(values[a : a + CHUNK_SERIES]) for a in range(0, len(values), CHUNK_SERIES)]
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)

    def chunks(self, path: Path) -> float:
        """Read a record batch a chunk."""
        with pa.OSFile(str(path)) as file:
            reader = pa.ipc.open_file(file)
            return float(sum(_flat(reader.get_batch(i)).sum() for i in range(reader.num_record_batches)))

    def windows(self, path: Path, places: Sequence[tuple[int, int]], length: int) -> float:
        """Map the file and slice the batch that holds the series."""
        with pa.memory_map(str(path)) as file:
            reader = pa.ipc.open_file(file)
            batches = [_flat(reader.get_batch(i)) for i in range(reader.num_record_batches)]
            total = 0.0
            for series, start in places:
                begin = series % CHUNK_SERIES * length + start
                total += float(batches[series // CHUNK_SERIES][begin : begin + CONTEXT].sum())
        return total


class ParquetLists:
    """A list column in Parquet, a row group a chunk."""

    name = "Parquet lists"

    def write(self, path: Path, values: Floats) -> None:
        """Write a row group a chunk."""
        batch = _list_batch(values)
        pq.write_table(pa.Table.from_batches([batch]), path, row_group_size=CHUNK_SERIES, use_dictionary=False)

    def chunks(self, path: Path) -> float:
        """Read a row group a chunk."""
        with pq.ParquetFile(path) as file:
            return float(sum(_read_group(file, i).sum() for i in range(file.num_row_groups)))

    def windows(self, path: Path, places: Sequence[tuple[int, int]], length: int) -> float:
        """Read the row group of the series for each window anew: to keep them all would be to keep the data."""
        total = 0.0
        with pq.ParquetFile(path) as file:
            for series, start in places:
                begin = series % CHUNK_SERIES * length + start
                total += float(_read_group(file, series // CHUNK_SERIES)[begin : begin + CONTEXT].sum())
        return total


def _list_batch(values: Floats) -> Any:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.record_batch([pa.ListArray.from_arrays(offsets, values.ravel())], names=["y"])


def _flat(batch: Any) -> Floats:
    return np.asarray(batch.column(0).flatten().to_numpy())


def _read_group(file: Any, index: int) -> Floats:
    return np.asarray(file.read_row_group(index, use_threads=False).column(0).combine_chunks().flatten().to_numpy())


def _length(path: Path) -> int:
    return int(path.with_suffix(".length").read_text())


@dataclass(frozen=True)
class Measured:
    """Medians of one form, in seconds, and its size."""

    name: str
    write: float
    chunks: float
    window: float
    bytes: int


def compare(n_series: int, length: int, folder: Path) -> list[Measured]:
    """Measure every form in turn, `ROUNDS` times, and return medians."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n_series, length)).cumsum(axis=1)
    places = list(
        zip(
            rng.integers(0, n_series, WINDOWS).tolist(),
            rng.integers(0, length - CONTEXT + 1, WINDOWS).tolist(),
            strict=True,
        )
    )
    forms: list[Form] = [Flat(), ArrowFile(), ParquetLists()]
    times: dict[str, list[tuple[float, float, float]]] = {form.name: [] for form in forms}
    for _ in range(ROUNDS):
        for form in forms:
            times[form.name].append(_one_round(form, folder / form.name, values, places))
    return [_medians(form.name, times[form.name], folder / form.name) for form in forms]


def _medians(name: str, rounds: Sequence[tuple[float, float, float]], path: Path) -> Measured:
    write, chunks, window = (statistics.median(column) for column in zip(*rounds, strict=True))
    return Measured(name, write, chunks, window, path.stat().st_size)


def _one_round(form: Form, path: Path, values: Floats, places: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    path.with_suffix(".length").write_text(str(values.shape[1]))
    # Every window of Parquet decodes a whole row group: a tenth of them says enough.
    some = places[: len(places) // 10] if isinstance(form, ParquetLists) else places
    write = _seconds(lambda: form.write(path, values))
    chunks = _seconds(lambda: form.chunks(path))
    windows = _seconds(lambda: form.windows(path, some, values.shape[1]))
    return write, chunks, windows / len(some)


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def table(measured: Sequence[Measured], n_series: int) -> str:
    """Return a Markdown table."""
    rows = [
        f"| {m.name} | {n_series / m.chunks:,.0f} | {m.window * 1e6:,.1f} | {m.bytes / n_series:,.0f} "
        f"| {n_series / m.write:,.0f} |"
        for m in measured
    ]
    head = "| form | read in chunks, series/s | random window, microseconds | bytes/series | written, series/s |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])


def main(arguments: Sequence[str]) -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--length", type=int, default=512)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        print(table(compare(asked.series, asked.length, Path(folder)), asked.series))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
