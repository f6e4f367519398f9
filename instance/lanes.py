"""Which models work beside each other, and the chunks they work through. Runs in the worker."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

from contracts.models import CHRONOS

Done = TypeVar("Done")

CHUNKS_AT_ONCE = 2  # keep the pool of processes busy at the end of a chunk


@dataclass(frozen=True)
class Lane:
    """Models that take turns on each chunk, and how many chunks are computed at once."""

    models: tuple[str, ...]
    chunks_at_once: int


def plan(models: Sequence[str], device: str) -> list[Lane]:
    """Return the lanes for some models.

    Chronos on a GPU leaves the cores idle, so the statistical models work at the same time, in a lane of their own.
    Without a GPU both would fight for the same cores, so there is one lane, whose chunks all take the same time.
    Two chunks are under way at once, so that one is prepared and written while the other is computed; on a GPU Chronos
    overlaps its batches by itself.
    """
    chronos = tuple(name for name in models if name in CHRONOS)
    others = tuple(name for name in models if name not in CHRONOS)
    if device == "cpu":
        return [Lane(tuple(models), CHUNKS_AT_ONCE)]
    return [lane for lane in (Lane(chronos, 1), Lane(others, CHUNKS_AT_ONCE)) if lane.models]


class Stopped(Exception):
    """Another lane failed, so this one ends."""


def run_lanes(
    lanes: Sequence[Lane],
    chunks: int,
    compute: Callable[[Lane, int], Done],
    collect: Callable[[Lane, int, Done], None],
) -> None:
    """Compute every chunk in every lane, and collect what comes of it in the order of the chunks.

    Parameters
    ----------
    lanes : sequence of Lane
        They run at once, each in a thread of its own.
    chunks : int
        Chunks in each lane.
    compute : callable
        From lane and index of a chunk to what `collect` takes. Called from several threads.
    collect : callable
        Called from one thread a lane, chunk after chunk, while the next ones are computed.

    Raises
    ------
    Exception
        The first that a lane raised; the other lanes end after the chunk they are at.
    """
    stop = threading.Event()
    threads = ThreadPoolExecutor(max(1, len(lanes)), thread_name_prefix="lane")
    try:
        running = [threads.submit(_run_lane, lane, chunks, compute, collect, stop) for lane in lanes]
        ended, _ = wait(running, return_when=FIRST_EXCEPTION)
        stop.set()
        for lane in (one for one in ended if one.exception() is not None):
            lane.result()
        wait(running)
    finally:
        stop.set()
        threads.shutdown(wait=False, cancel_futures=True)


def _run_lane(
    lane: Lane,
    chunks: int,
    compute: Callable[[Lane, int], Done],
    collect: Callable[[Lane, int, Done], None],
    stop: threading.Event,
) -> None:
    workers = ThreadPoolExecutor(lane.chunks_at_once, thread_name_prefix="chunk")
    waiting: deque[Future[Done]] = deque()
    try:
        # As many chunks as are computed at once wait to be collected, so that no thread waits for the collector.
        for chunk in range(chunks + lane.chunks_at_once):
            if stop.is_set():
                raise Stopped
            if chunk < chunks:
                waiting.append(workers.submit(compute, lane, chunk))
            if chunk >= lane.chunks_at_once:
                collect(lane, chunk - lane.chunks_at_once, waiting.popleft().result())
    finally:
        workers.shutdown(wait=False, cancel_futures=True)
