"""Threads that share a list of items and stop together. Runs on the instance, in the worker."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Stopped(Exception):
    """The team ends early, so this thread's work is of no use any more."""


class ThreadTeam(Generic[Item, Result]):
    """Does `work` on items in several threads, each taking the next item when it is free.

    Parameters
    ----------
    threads : int
        How many at most.
    work : callable
        Called with an item; what it returns is the item's result.
    stop : threading.Event
        Set when the team ends early; `work` looks at it where it takes long.

    Notes
    -----
    One future a thread, not one an item: for thousands of small items the futures would cost more than the work.
    """

    def __init__(self, threads: int, work: Callable[[Item], Result], stop: threading.Event) -> None:
        self.threads = threads
        self.work = work
        self.stop = stop

    def run(self, items: Iterable[Item]) -> list[Result]:
        """Return the results in the order of the items.

        Raises
        ------
        Exception
            The first that `work` raised, once the other threads have stopped. What interrupts the caller, such as
            `Interrupted`, is raised at once; the other threads stop where they next look.
        """
        todo = deque(enumerate(items))
        results: dict[int, Result] = {}
        pool = ThreadPoolExecutor(max(1, min(self.threads, len(todo))))
        try:
            # Inside, since an interruption may come as soon as the first thread works.
            jobs = [pool.submit(self._drain, todo, results) for _ in range(min(self.threads, len(todo)))]
            done, _ = wait(jobs, return_when=FIRST_EXCEPTION)
            _raise_first(done)
        except BaseException as error:
            self.stop.set()
            pool.shutdown(wait=isinstance(error, Exception), cancel_futures=True)
            raise
        pool.shutdown()
        return [results[index] for index in sorted(results)]

    def _drain(self, todo: "deque[tuple[int, Item]]", results: dict[int, Result]) -> None:
        while not self.stop.is_set():
            try:
                index, item = todo.popleft()
            except IndexError:
                return
            results[index] = self.work(item)


def _raise_first(done: "set[Future[None]]") -> None:
    errors = [error for job in done if (error := job.exception()) is not None]
    # A thread that stopped because another one failed says nothing of why.
    for error in sorted(errors, key=lambda error: isinstance(error, Stopped)):
        raise error
