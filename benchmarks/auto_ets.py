"""Measure AutoETS: form once against refitting all, and against statsforecast alone. Runs on a developer's computer.

`python -m benchmarks.auto_ets` prints the rows, and beside them what each horizon gave.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.rows import Row, row
from contracts.documents import check
from instance.checksums import file_sha256
from instance.dataset import DataFile
from instance.forecasting import Forecasting, by_model
from instance.ingest import ingest
from instance.lanes import plan
from instance.models.auto_ets import AutoETS
from instance.models.core_pool import CorePool
from instance.models.interface import Floats, Panel
from instance.models.statistical import FORM, PARAMETERS
from instance.reporting import Reporter
from instance.seasonal_scale import seasonal_naive_scales
from instance.windows import cutoff
from scripts.make_datasets import load, make

ROOT = Path(__file__).parents[1]
SEASON = 12
N_WINDOWS = 12
HORIZONS = (6, 12)
SHORTEST_HISTORY = 3 * SEASON
LEVELS = (0.1, 0.5, 0.9)
INTERVAL = 80  # per cent; its ends are the outer levels
ROUNDS = 3
N_GENERATED = 96
N_PIPELINE = 48


class Refits(NamedTuple):
    """What both policies gave on some series: seconds by round, MASE by series; each (form, parameters)."""

    seconds: list[tuple[float, float]]
    mase: list[tuple[float, float]]


def measure() -> list[Row]:
    """Return the three rows; takes about four minutes of one core."""
    by_horizon = [refits(monthly(), horizon) for horizon in HORIZONS]
    seconds = [pair for one in by_horizon for pair in one.seconds]
    speed = sum(form for form, _ in seconds) / sum(parameters for _, parameters in seconds)
    loss = _loss([pair for one in by_horizon for pair in one.mase])
    return [
        row("AutoETS, form once and parameters each window: windows per second / refitting all", speed, 5),
        row("AutoETS, form once and parameters each window: loss of accuracy (MASE, %)", loss, 1, at_most=True),
        row("AutoETS end to end / statsforecast alone, all cores", against_statsforecast(), 0.95),
    ]


def monthly() -> list[Floats]:
    """Return the demo's real monthly series."""
    frame = load(make("seasonal-monthly", ROOT / "build" / "datasets", ROOT / "build" / "downloads"))
    return [one["y"].dropna().to_numpy(dtype=np.float64) for _, one in frame.groupby("unique_id")]


def refits(series: Sequence[Floats], horizon: int) -> Refits:
    """Backtest both policies on one core, series by series and taking turns.

    Parameters
    ----------
    series : sequence of float64 arrays, shape (length,) each
        Those too short for the windows are left out.
    horizon : int
        Steps of each of the `N_WINDOWS` windows.
    """
    found = Refits([], [])
    for values in series:
        if len(values) < N_WINDOWS * horizon + SHORTEST_HISTORY:
            continue
        windows = [
            Panel(["one"], [values[: cutoff(len(values), window, N_WINDOWS, horizon)]], SEASON)
            for window in range(N_WINDOWS)
        ]
        (form_seconds, form), (seconds, parameters) = (
            _timed(partial(AutoETS(SEASON, CorePool(1), refit).forecast, windows, horizon, LEVELS, _quiet))
            for refit in (FORM, PARAMETERS)
        )
        found.seconds.append((form_seconds, seconds))
        found.mase.append((_mase(values, form, horizon), _mase(values, parameters, horizon)))
    return found


def against_statsforecast() -> float:
    """Return the seconds of statsforecast over those of our pipeline, on every core, medians of rounds taking turns.

    Both make a backtest window and the forecast beyond the data and search the form each time. Ours also reads Parquet,
    scores and writes. The processes of both sides are warm: ours live for a whole run.
    """
    from statsforecast import StatsForecast  # noqa: PLC0415 - only this measurement needs it
    from statsforecast.models import AutoETS as StatsForecastETS  # noqa: PLC0415 - as above

    frame, cores, seconds = _long(generated(N_PIPELINE)), os.cpu_count() or 1, []
    alone = StatsForecast([StatsForecastETS(SEASON)], freq="MS", n_jobs=cores)
    with tempfile.TemporaryDirectory() as folder, closing(CorePool(cores)) as pool:
        data = Path(folder) / "monthly.parquet"
        frame.to_parquet(data, index=False)
        _pipeline(data, Path(folder) / "warm", pool)
        for turn in range(ROUNDS):
            theirs, _ = _timed(partial(_statsforecast, alone, frame))
            ours, _ = _timed(partial(_pipeline, data, Path(folder) / str(turn), pool))
            seconds.append((theirs, ours))
    theirs, ours = np.median(seconds, axis=0)
    return float(theirs / ours)


def _statsforecast(alone: Any, frame: Any) -> None:
    alone.cross_validation(df=frame, h=SEASON, n_windows=1, level=[INTERVAL])
    alone.forecast(df=frame, h=SEASON, level=[INTERVAL])


def _pipeline(data: Path, scratch: Path, pool: CorePool) -> None:
    request = check("run_request", {"n_windows": 1, "prediction_length": SEASON, "refit": FORM, "metrics": ["mase"]})
    store = ingest([DataFile(data.name, data, file_sha256(data))], request, scratch / "series", lambda _: None)
    model = AutoETS(store.info.season_length, pool, request["refit"])
    work = Forecasting(store, request, scratch, {}, Reporter(io.StringIO()))
    forecaster = by_model({model.name: model}, store.info.prediction_length, request["quantile_levels"], 0)
    work.forecast(plan([model.name], "cpu"), forecaster, "")


def _long(series: Iterable[Floats]) -> Any:
    """Return monthly series as a data frame of unique_id, ds, y."""
    import pandas as pd  # noqa: PLC0415 - only this measurement needs it

    return pd.concat(
        [
            pd.DataFrame(
                {"unique_id": f"{i:03}", "ds": pd.date_range("2000-01-01", periods=len(one), freq="MS"), "y": one}
            )
            for i, one in enumerate(series)
        ],
        ignore_index=True,
    )


def generated(count: int) -> Iterator[Floats]:
    """Make monthly series of 8 to 16 years: a level that drifts, a season that adds or multiplies, noise."""
    random = np.random.default_rng(0)
    for index in range(count):
        steps = np.arange(int(random.integers(96, 193)))
        level = 100 + np.cumsum(random.normal(scale=random.uniform(0.1, 2), size=len(steps)))
        wave = np.sin((steps + random.uniform(0, SEASON)) * 2 * np.pi / SEASON) * random.uniform(0.02, 0.3)
        base = np.maximum(level, 20)
        season = base * wave if index % 2 else 100 * wave
        yield np.maximum(base + season + random.normal(scale=random.uniform(0.5, 5), size=len(steps)), 1.0)


def _mase(values: Floats, made: Sequence[Any], horizon: int) -> float:
    cutoffs = np.array([[cutoff(len(values), window, N_WINDOWS, horizon)] for window in range(N_WINDOWS)])
    scales = seasonal_naive_scales([values], cutoffs, SEASON)[:, 0]
    errors = [
        np.mean(np.abs(values[end : end + horizon] - one.point[0])) for (end,), one in zip(cutoffs, made, strict=True)
    ]
    return float(np.mean(errors / scales))


def _loss(mase: Sequence[tuple[float, float]]) -> float:
    form, parameters = np.mean(mase, axis=0)
    return float(100 * (parameters / form - 1))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


def _quiet(count: int) -> None:
    del count


def main() -> None:
    """Print the rows, and the figures of each horizon and of generated series with standard errors."""
    for name, series in (("real", monthly()), ("generated", list(generated(N_GENERATED)))):
        for horizon in HORIZONS[:1] if name == "generated" else HORIZONS:
            found = refits(series, horizon)
            form, parameters = np.sum(found.seconds, axis=0)
            differences = np.diff(found.mase, axis=1)[:, 0] / np.mean(found.mase, axis=0)[0]
            error = 100 * np.std(differences, ddof=1) / np.sqrt(len(differences))
            print(
                f"{name}, {len(differences)} series, {N_WINDOWS} windows of {horizon}: "
                f"{form / parameters:.2f} times as fast, "
                f"MASE {_loss(found.mase):+.2f} % (standard error {error:.2f})",
                flush=True,
            )
    print(f"statsforecast / ours: {against_statsforecast():.3f}")


if __name__ == "__main__":
    main()
