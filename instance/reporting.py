"""The lines a worker sends its supervisor through a pipe: what it does and how it ended. Runs in both processes."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 0.2
# Seldom enough that the log of two hours of training fits into the tail that is kept of it.
LOG_SECONDS = 15.0
MESSAGE_LENGTH = 900

Event = dict[str, Any]


class Interrupted(BaseException):
    """The supervisor asked the worker to stop. Not an Exception, so that no fallback swallows it."""


class Reporter:
    """Writes one JSON object a line: phase, progress, finished, failed, artifacts.

    Parameters
    ----------
    stream : TextIO
        Line-buffered text stream to the supervisor.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.lock = threading.Lock()
        self.step = 0
        self.total: int | None = None
        self.unit = ""
        self.message = ""
        self.figures: dict[str, float | None] = {}
        self.seconds_left: Callable[[], float | None] = _unknown
        self.sent_at = 0.0
        self.logged_at = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[dict[str, Any]]:
        """Report the begin and the end of phase `name`; the body fills the yielded details."""
        details: dict[str, Any] = {}
        with self.lock:
            self.step, self.total, self.unit = 0, None, "steps"
            self.figures, self.seconds_left = {}, _unknown
        logger.info("the %s phase begins", name)
        self._send({"event": "phase", "phase": name})
        status = "fail"
        try:
            yield details
            status = "pass"
        except Interrupted:
            status = "interrupted"
            raise
        finally:
            logger.info("the %s phase ends: %s", name, status)
            self._send({"event": "finished", "phase": name, "status": status, "details": details})

    def expect(
        self, total: int | None, unit: str, message: str, seconds_left: Callable[[], float | None] | None = None
    ) -> None:
        """Begin to count up to `total` of `unit`; `seconds_left` is asked each time progress is sent."""
        with self.lock:
            self.step, self.total, self.unit, self.message = 0, total, unit, message
            self.figures, self.seconds_left = {}, seconds_left or _unknown
        logger.info("%s", message)
        self._send_progress()

    def measure(self, **figures: float | None) -> None:
        """Tell figures with the progress: loss, series_per_second; the supervisor leaves out what is no number."""
        with self.lock:
            self.figures = dict(figures)

    def say(self, message: str) -> None:
        """Change the sentence that goes with the progress."""
        self.message = message
        self._send_progress()

    def advance(self, count: int) -> None:
        """Count on; sent at most five times a second, and always at the end. May be called from any thread."""
        with self.lock:
            self.step = max(0, self.step + count)
            due = time.monotonic() - self.sent_at >= PROGRESS_SECONDS or self.step == self.total
        if due:
            self._send_progress()

    def artifacts(self, entries: list[dict[str, Any]]) -> None:
        """Hand over the verified artifacts."""
        self._send({"event": "artifacts", "artifacts": entries})

    def failed(self, code: str, message: str) -> None:
        """Say why the worker ends."""
        self._send({"event": "failed", "code": code, "message": message[:MESSAGE_LENGTH]})

    def _send_progress(self) -> None:
        self.sent_at = time.monotonic()
        if self.sent_at - self.logged_at >= LOG_SECONDS:
            self.logged_at = self.sent_at
            logger.info("%s of %s %s", self.step, "?" if self.total is None else self.total, self.unit)
        progress: dict[str, Any] = {"step": self.step, "total": self.total, "unit": self.unit, **self.figures}
        left = self.seconds_left()
        if left is not None:
            progress["seconds_left"] = round(left, 1)
        self._send({"event": "progress", "progress": progress, "message": self.message})

    def _send(self, event: Event) -> None:
        with self.lock:
            self.stream.write(json.dumps(event) + "\n")
            self.stream.flush()


def _unknown() -> None:
    """Return that nobody knows how long it takes."""
