"""Every model forecasts every chunk of series; what is done is kept and taken up. Runs in the worker."""

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contracts.models import CHRONOS
from instance.actuals import Actuals, actuals
from instance.artifacts import ResultWriter
from instance.checkpoints import Checkpoints, Finished, Unit
from instance.lanes import Lane, run_lanes
from instance.models.interface import Forecast, Model, OnProgress, Panel
from instance.pace import Pace
from instance.reporting import Reporter
from instance.scores import ScoreTally, score_chunk
from instance.series import SeriesSet
from instance.series_store import SeriesStore
from instance.windows import panels

FAILED_NAMED = 20

Forecaster = Callable[[str, int, list[Panel], OnProgress], list[Forecast]]


@dataclass
class ModelResult:
    """What one model gave so far.

    Parameters
    ----------
    writer : ResultWriter
        Takes the forecasts.
    tally : ScoreTally
        Takes the scores.
    seconds : float
        Time it took to compute, in this attempt or in an earlier one.
    failed : int
        Series that a fallback forecast in at least one window.
    failures : dict
        Why, of the first of them, by unique_id.
    """

    writer: ResultWriter
    tally: ScoreTally = field(default_factory=ScoreTally)
    seconds: float = 0.0
    failed: int = 0
    failures: dict[str, str] = field(default_factory=dict)

    def take(self, series: SeriesSet, what: Actuals, finished: Finished, request: dict[str, Any]) -> None:
        """Write and score the forecasts of a chunk."""
        *windows, _ = finished.forecasts
        self.writer.add(series, what, finished.forecasts)
        trading = "sharpe" in request["metrics"]
        scores = score_chunk(
            what,
            [one.point for one in windows],
            [one.quantiles for one in windows],
            request["quantile_levels"],
            transaction_cost_bps=request["transaction_cost_bps"] if trading else None,
        )
        self.tally.add(scores)
        self.seconds += finished.seconds
        self._take_failures(series.ids, finished.forecasts)

    def _take_failures(self, ids: list[str], forecasts: list[Forecast]) -> None:
        why = {index: reason for one in forecasts for index, reason in one.failures.items()}
        self.failed += len(why)
        for index in sorted(why)[: FAILED_NAMED - len(self.failures)]:
            self.failures[ids[index]] = why[index]


@dataclass(frozen=True)
class ChunkDone:
    """A chunk, what came, and what each model of the lane forecast; `computed` unless all of it was taken up."""

    series: SeriesSet
    what: Actuals
    finished: dict[str, Finished]
    computed: bool


class Forecasting:
    """Works through the chunks of a store.

    Parameters
    ----------
    store : SeriesStore
        The series.
    request : dict
        A run request with its defaults.
    results : Path
        Folder that becomes the run's artifacts.
    checkpoints : mapping of str to Checkpoints
        By model.
    reporter : Reporter
        Told each forecast.
    """

    def __init__(
        self,
        store: SeriesStore,
        request: dict[str, Any],
        results: Path,
        checkpoints: Mapping[str, Checkpoints],
        reporter: Reporter,
    ) -> None:
        self.store = store
        self.request = request
        self.results = results
        self.checkpoints = checkpoints
        self.reporter = reporter
        self.done: dict[str, ModelResult] = {}
        self.resumed = 0
        self.lock = threading.Lock()

    def forecast(self, lanes: list[Lane], forecaster: Forecaster, message: str) -> None:
        """Forecast every chunk with the models of the lanes, lanes at once.

        Parameters
        ----------
        lanes : list of Lane
            Each model in one of them.
        forecaster : callable
            From model, index of the chunk, its panels and a progress callback to the forecasts of every panel.
        message : str
            Goes with the progress.
        """
        paces = {lane: Pace(self.store.chunks, time.monotonic) for lane in lanes}
        names = [name for lane in lanes for name in lane.models]
        levels = self.request["quantile_levels"]
        self.done |= {name: ModelResult(ResultWriter(self.results, name, levels)) for name in names}
        forecasts = len(names) * self.store.info.n_series * self._windows
        self.reporter.expect(forecasts, "series forecasts", message, lambda: _longest(paces.values()))

        def collect(lane: Lane, chunk: int, done: ChunkDone) -> None:
            del chunk
            for name, finished in done.finished.items():
                self.done[name].take(done.series, done.what, finished, self.request)
            paces[lane].done(done.computed)

        run_lanes(lanes, self.store.chunks, lambda lane, chunk: self._chunk(lane, chunk, forecaster), collect)
        for name in names:
            self.done[name].writer.close()
        self.reporter.say(message)

    @property
    def _windows(self) -> int:
        return int(self.request["n_windows"]) + 1

    def _chunk(self, lane: Lane, chunk: int, forecaster: Forecaster) -> ChunkDone:
        series = self.store.chunk(chunk)
        windows = panels(series, self.request["n_windows"])
        finished, computed = {}, False
        for name in lane.models:
            unit = Unit(name, chunk)
            resumed = self._take_up(unit, len(series.ids))
            finished[name] = resumed or self._compute(unit, windows, forecaster, lane.chunks_at_once)
            computed = computed or resumed is None
        return ChunkDone(series, actuals(series, self.request["n_windows"]), finished, computed)

    def _take_up(self, unit: Unit, series: int) -> Finished | None:
        kept = self.checkpoints.get(unit.model)
        resumed = kept.load(unit) if kept else None
        if resumed is not None:
            with self.lock:
                self.resumed += 1
            self.reporter.advance(series * self._windows)
        return resumed

    def _compute(self, unit: Unit, windows: list[Panel], forecaster: Forecaster, at_once: int) -> Finished:
        began = time.monotonic()
        forecasts = forecaster(unit.model, unit.chunk, windows, self.reporter.advance)
        # Chunks that are computed at once share the machine, so each counts for its part of the time.
        finished = Finished(forecasts, (time.monotonic() - began) / at_once)
        if unit.model in self.checkpoints:
            self.checkpoints[unit.model].save(unit, finished)
        return finished


def by_model(models: Mapping[str, Model], horizon: int, levels: list[float], seed: int) -> Forecaster:
    """Return a forecaster that asks the model; Chronos models take turns, since each uses the whole device."""
    device = threading.Lock()

    def forecast(name: str, chunk: int, windows: list[Panel], on_progress: OnProgress) -> list[Forecast]:
        del chunk
        if name not in CHRONOS:
            return models[name].forecast(windows, horizon, levels, on_progress)
        with device:
            # Before each chunk, so that one computed after a resume is the one that a whole attempt computes.
            seed_everything(seed)
            return models[name].forecast(windows, horizon, levels, on_progress)

    return forecast


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch, and let PyTorch use every core."""
    import torch  # noqa: PLC0415 - not needed by a run without Chronos

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(os.cpu_count() or 1)


def _longest(paces: Iterable[Pace]) -> float | None:
    """Return the longest time left of some lanes, None while one of them is not known."""
    left = [pace.seconds_left() for pace in paces]
    known = [seconds for seconds in left if seconds is not None]
    return max(known) if len(known) == len(left) else None
