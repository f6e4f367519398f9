"""Uploads the end of the worker's log while it works: what a killed machine leaves. Runs in the supervisor."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

TAIL_BYTES = 64 << 10

Put = Callable[[bytes], None]


class LogTail:
    """Keeps the end of one file on S3 up to date, in a thread of its own: it delays no report and fails none.

    Once a heartbeat, and only when the file has changed, so that there is never more than one upload a report.

    Parameters
    ----------
    path : Path
        The log; it need not exist yet.
    put : callable
        Stores the bytes; may raise anything.
    period_seconds : float
        Time between two looks.
    """

    def __init__(self, path: Path, put: Put, period_seconds: float) -> None:
        self.path = path
        self.put = put
        self.period_seconds = period_seconds
        self.kept = (0, 0)
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._keep_up, name="log-tail", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self.thread.start()

    def stop(self, patience_seconds: float) -> None:
        """End, and wait a while for an upload under way, which must not overtake the whole log that comes next."""
        self.stopping.set()
        self.thread.join(patience_seconds)

    def keep(self) -> None:
        """Upload the last `TAIL_BYTES` if the file has changed since they were uploaded."""
        try:
            found = self.path.stat()
            seen = (found.st_size, found.st_mtime_ns)
            if not found.st_size or seen == self.kept:
                return
            with self.path.open("rb") as file:
                file.seek(max(0, found.st_size - TAIL_BYTES))
                self.put(file.read(TAIL_BYTES))
            self.kept = seen
        except FileNotFoundError:
            return
        except Exception:  # whatever it is, the next look tries again
            logger.warning("the end of %s could not be uploaded", self.path.name, exc_info=True)

    def _keep_up(self) -> None:
        while not self.stopping.wait(self.period_seconds):
            self.keep()
