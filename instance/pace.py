"""How much longer work takes that is done chunk by chunk. Pure but for the clock it is given. Runs in the worker."""

import threading
from collections.abc import Callable

FEWEST_CHUNKS = 4


class Pace:
    """Time left of one lane of chunks, from the chunks it has computed so far.

    Chunks hold the same number of series, and each goes through every model of the lane, so that they take about the
    same time; what the later half of them took tells best what the next ones will. Chunks taken up from an earlier
    attempt take none, and do not count.

    Parameters
    ----------
    chunks : int
        Chunks in all.
    clock : callable
        Returns seconds, as time.monotonic does.
    """

    def __init__(self, chunks: int, clock: Callable[[], float]) -> None:
        self.left = chunks
        self.clock = clock
        self.lock = threading.Lock()
        self.last_at = clock()
        self.took: list[float] = []

    def done(self, computed: bool) -> None:
        """Count a finished chunk; `computed` is false when an earlier attempt had computed all of it."""
        with self.lock:
            now = self.clock()
            self.left -= 1
            if computed:
                self.took.append(now - self.last_at)
            self.last_at = now

    def seconds_left(self) -> float | None:
        """Return the seconds to the end of the lane, None before the first chunk was computed."""
        with self.lock:
            if not self.left:
                return 0.0
            if not self.took:
                return None
            late = self.took[-max(FEWEST_CHUNKS, len(self.took) // 2) :]
            each = sum(late) / len(late)
            return max(0.0, self.left * each - (self.clock() - self.last_at))
