"""What the tests of the pool do in its processes, apart from them so that a process starts fast."""

import os
import signal


def end_process(task: int) -> int:
    """End the process that works on task 2, as the kernel does when memory is short."""
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def fail(task: int) -> int:
    """Raise an error."""
    raise ZeroDivisionError(f"task {task}")
