"""Read series from the CSV files of public packages. Runs on a developer's computer."""

import io
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Series = dict[str, Floats]


def from_long(frame: Any) -> Series:
    """Split Nixtla's long format (unique_id, ds, y) into one array a series."""
    return {str(name): part["y"].to_numpy(np.float64) for name, part in frame.groupby("unique_id")}


def columns(*names: str, prefix: str = "") -> Callable[[bytes], Series]:
    """Return a reader of the named columns of one CSV file, a row a step."""

    def convert(content: bytes) -> Series:
        frame = pd.read_csv(io.BytesIO(content))
        return {prefix + name: pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64) for name in names}

    return convert


def one_each(names: Sequence[str], column: str) -> Callable[..., Series]:
    """Return a reader of files that hold one series each, in a column of the same name."""

    def convert(*contents: bytes) -> Series:
        read = columns(column)
        return {name: read(content)[column] for name, content in zip(names, contents, strict=True)}

    return convert


def together(*converts: Callable[[bytes], Series]) -> Callable[..., Series]:
    """Return a reader that gives the first file to the first reader, and so on."""

    def convert(*contents: bytes) -> Series:
        parts = [one(content) for one, content in zip(converts, contents, strict=True)]
        return {name: values for part in parts for name, values in part.items()}

    return convert


def zipped_long(content: bytes) -> Series:
    """Read a zipped CSV file with the columns series_id and value."""
    frame = pd.read_csv(_unzipped(content))
    return {str(name): part["value"].to_numpy(np.float64) for name, part in frame.groupby("series_id")}


def zipped_columns(*names: str) -> Callable[[bytes], Series]:
    """Return a reader of the named columns of a zipped CSV file."""
    return lambda content: columns(*names)(_unzipped(content).read())


def _unzipped(content: bytes) -> io.BytesIO:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return io.BytesIO(archive.read(archive.namelist()[0]))
