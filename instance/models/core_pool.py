"""Processes, one a core, that every statistical model shares. Runs in the worker."""

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

from contracts.reasons import OutOfMemory

Task = TypeVar("Task")
Done = TypeVar("Done")

STEPS_WORTH_PROCESSES = 5_000  # at about half a millisecond a step, as long as processes take to start


class CorePool:
    """Runs tasks on every core; several threads may hand in work at once, so that no core waits for the last task.

    The processes start once the work handed in so far would have been worth them, and are spawned, not forked: this
    process may hold PyTorch's threads and a CUDA context, which do not survive a fork.

    Parameters
    ----------
    cores : int
        Processes to run; with 1, everything runs in the calling thread.
    """

    def __init__(self, cores: int) -> None:
        self.cores = cores
        self._lock = threading.Lock()
        self._steps = 0
        self._executor: ProcessPoolExecutor | None = None

    @property
    def started(self) -> bool:
        """Whether there are processes."""
        return self._executor is not None

    def map(
        self, work: Callable[[Task], Done], tasks: Sequence[Task], on_done: Callable[[Done], None], steps: int
    ) -> list[Done]:
        """Do `work` on each task.

        Parameters
        ----------
        work : callable
            A function of a module, or an object that pickles.
        tasks : sequence
            What it takes; the largest first balances best.
        on_done : callable
            Told each result, in the calling thread, in the order in which they come.
        steps : int
            Values in the series of these tasks, which says how long they take. Starting processes takes seconds, so
            they start when the steps of all calls together are worth it: a run of many small chunks deserves them too.

        Returns
        -------
        list
            The results, in the order of the tasks.

        Raises
        ------
        OutOfMemory
            A process was killed from outside, as the kernel does when memory is short.
        Exception
            What `work` raised first; tasks that did not begin are dropped.
        """
        if self.cores == 1 or not self._worth_processes(steps):
            return list(_one_by_one(work, tasks, on_done))
        with self._explained():
            executor = self._running()
            futures = [executor.submit(work, task) for task in tasks]
            _collect(futures, on_done)
            return [future.result() for future in futures]

    def close(self) -> None:
        """End the processes; the next work starts new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)

    def _worth_processes(self, steps: int) -> bool:
        with self._lock:
            self._steps += steps
            return self._steps >= STEPS_WORTH_PROCESSES or self._executor is not None

    def _running(self) -> ProcessPoolExecutor:
        with self._lock:
            if self._executor is None:
                self._executor = ProcessPoolExecutor(self.cores, mp_context=get_context("spawn"), initializer=_prepare)
            return self._executor

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except BrokenProcessPool as error:
            self.close()
            raise OutOfMemory(
                f"Expected {self.cores} processes to fit models until all is done, found one killed from outside, most "
                "likely because memory ran out. Use an instance type with more memory, or shorter series."
            ) from error


def _one_by_one(work: Callable[[Task], Done], tasks: Sequence[Task], on_done: Callable[[Done], None]) -> Iterator[Done]:
    for task in tasks:
        done = work(task)
        on_done(done)
        yield done


def _collect(futures: Sequence[Future[Done]], on_done: Callable[[Done], None]) -> None:
    """Tell each result as it comes; on any error, the interruption of the worker included, drop what did not begin."""
    waiting = set(futures)
    try:
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                on_done(future.result())
    except BaseException:
        for future in waiting:
            future.cancel()
        raise


def _prepare() -> None:
    """Set up a new process: it ends when asked to, and keeps the library's remarks on hard series out of the log."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.simplefilter("ignore")
