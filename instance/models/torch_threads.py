"""Where batches of a PyTorch model are computed: at once, or in a thread for each core. Runs in the worker."""

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any


class Immediately(Executor):
    """Computes when asked, for a device that goes on by itself or a model that uses every core."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the result of `fn` as a future that is done; what it raises is raised here."""
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def executor(threads: int) -> Executor:
    """Return an executor with `threads` threads, in each of which an operation of PyTorch keeps to one core.

    A small model gains little from several cores in one operation, and much from a batch on each core.
    """
    if threads == 1:
        return Immediately()
    return ThreadPoolExecutor(threads, thread_name_prefix="torch", initializer=_keep_to_one_core)


def _keep_to_one_core() -> None:
    import torch  # noqa: PLC0415 - loaded with the first model, not with the module

    # A thread takes the number of the whole process when it first asks, so it asks before it gets its own.
    torch.get_num_threads()
    torch.set_num_threads(1)
