"""Prepares the next training batch while the device works on this one. Runs in the worker, in a thread."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from instance.fine_tuning.samples import Sampler
from instance.models.chronos_families import on_device


def batches(sampler: Sampler, first: int, last: int, size: int, device: Any) -> Iterator[tuple[int, Any, Any]]:
    """Yield (step, context, target) on the device for the steps `first` to `last`, one batch ahead."""

    def prepare(step: int) -> tuple[Any, Any]:
        context, target = sampler.batch(step, size)
        return on_device(context, device), on_device(target, device)

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        upcoming = thread.submit(prepare, first)
        for step in range(first, last + 1):
            context, target = upcoming.result()
            if step < last:
                upcoming = thread.submit(prepare, step + 1)
            yield step, context, target
