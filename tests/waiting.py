"""Wait for what happens elsewhere, with an end. Runs under pytest."""

import time
from collections.abc import Callable
from typing import Any


def until(look: Callable[[], Any], what: str = "what the test waits for", seconds: float = 15.0) -> Any:
    """Return the first true value of `look`; fails when there is none in time."""
    gives_up_at = time.monotonic() + seconds
    while time.monotonic() < gives_up_at:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")
