"""Groups of real series out of public packages, and how to load them. Runs on a developer's computer."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.series_files import Series
from scripts.dataset_sources import Source, read

DOWNLOADS = Path(__file__).parents[1] / "build" / "downloads"
LONGEST = 5000


@dataclass(frozen=True)
class Group:
    """Series that are judged together.

    Parameters
    ----------
    name, frequency : str
        The frequency as pandas names it.
    season_length, horizon, n_windows : int
        In steps; windows follow each other and the last one ends at the last value.
    kept_aside : bool
        Whether no forecast of it was looked at before the training was over.
    sources : tuple of Source
        Files in wheels.
    convert : callable
        Turns their bytes into series.
    """

    name: str
    frequency: str
    season_length: int
    horizon: int
    n_windows: int
    kept_aside: bool
    sources: tuple[Source, ...]
    convert: Callable[..., Series]


def load(group: Group, downloads: Path = DOWNLOADS) -> Series:
    """Return the series of `group` by name, at most the last `LONGEST` values of each, without missing ones.

    Returns
    -------
    dict of str to float64 array, shape (length,)

    Raises
    ------
    SourceError
        A file cannot be had.
    """
    found = group.convert(*(read(source, downloads) for source in group.sources))
    return {name: values[np.isfinite(values)][-LONGEST:] for name, values in found.items()}
