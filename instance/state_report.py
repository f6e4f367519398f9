"""Writes system-state.json, alone and in order: heartbeats, phases, the end. Runs in the supervisor."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contracts import layout
from contracts.documents import dump
from instance.identity import Identity
from instance.limits import Outcome

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0
RETRY_SECONDS = 1.0
LAST_TRIES = 8
LAST_PAUSE_SECONDS = 20.0
MESSAGE_LENGTH, ERROR_LENGTH = 500, 1000

Put = Callable[[str, bytes], None]


def utc_now() -> str:
    """Return the time of now, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Report:
    """What the next system-state.json says."""

    phase: str = "preflight"
    progress: dict[str, Any] | None = None
    message: str | None = None


class Sequence:
    """The counter that bootstrap and supervisor share: a file with the last number used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = 0

    def next(self) -> int:
        """Count one up and return it; written before it is used, so that no number is used twice."""
        with contextlib.suppress(OSError, ValueError):
            self.last = max(self.last, int(self.path.read_text()))
        self.last += 1
        # A full disk must not silence the machine: this process goes on counting in memory.
        with contextlib.suppress(OSError):
            fresh = self.path.with_suffix(".new")
            fresh.write_text(str(self.last))
            fresh.replace(self.path)
        return self.last


class StateReport:
    """The only writer of system-state.json while the supervisor lives.

    A thread of its own writes: at once after a change of phase, at most every five seconds while there is progress,
    and else every heartbeat. A write that fails is repeated a second later and never ends the run.

    Parameters
    ----------
    identity : Identity
        Run, attempt and machine.
    put : callable
        Stores bytes under a key; may raise anything.
    state_dir : Path
        Folder shared with the bootstrap.
    started_at : str
        When the bootstrap began.
    """

    def __init__(self, identity: Identity, put: Put, state_dir: Path, started_at: str) -> None:
        self.identity = identity
        self.put = put
        self.state_dir = state_dir
        self.started_at = started_at
        self.sequence = Sequence(state_dir / "seq")
        self.report = Report()
        self.heartbeat_seconds = RETRY_SECONDS
        self.changed = threading.Condition()
        self.written_at = 0.0
        self.urgent = False
        self.fresh = False
        self.stopping = False
        self.thread: threading.Thread | None = None

    def start(self, heartbeat_seconds: float) -> None:
        """Begin to write, the first time at once."""
        self.heartbeat_seconds = heartbeat_seconds
        self.urgent = True
        self.thread = threading.Thread(target=self._keep_writing, name="state-report", daemon=True)
        self.thread.start()

    def phase(self, name: str) -> None:
        """Say that a phase begins; written at once."""
        with self.changed:
            self.report = Report(phase=name)
            self.urgent = True
            self.changed.notify()

    def progress(self, progress: dict[str, Any], message: str) -> None:
        """Say how far the phase is; written with one of the next heartbeats."""
        with self.changed:
            self.fresh = self.fresh or progress != self.report.progress
            self.report = replace(self.report, progress=progress, message=message[:MESSAGE_LENGTH] or None)
            self.changed.notify()

    def end(self, outcome: Outcome) -> bool:
        """Write the terminal state, last of all and with patience; return whether it is on S3.

        The document is left in terminal.json first, where the bootstrap finds it and tries again if this fails.
        """
        self._stop()
        document = self._document(outcome.status, outcome)
        with contextlib.suppress(OSError):
            (self.state_dir / "terminal.json").write_bytes(document)
        for attempt in range(LAST_TRIES):
            if self._put(document):
                with contextlib.suppress(OSError):
                    (self.state_dir / "terminal").touch()
                return True
            time.sleep(min(LAST_PAUSE_SECONDS, RETRY_SECONDS * 2**attempt))
        return False

    def _keep_writing(self) -> None:
        while self._wait_until_due():
            self.urgent = self.fresh = False
            if not self._put(self._document("running")):
                time.sleep(RETRY_SECONDS)
                self.urgent = True

    def _wait_until_due(self) -> bool:
        with self.changed:
            while not self.stopping and not self.urgent:
                due = PROGRESS_SECONDS if self.fresh else self.heartbeat_seconds
                left = self.written_at + min(due, self.heartbeat_seconds) - time.monotonic()
                if left <= 0:
                    break
                self.changed.wait(left)
            return not self.stopping

    def _stop(self) -> None:
        with self.changed:
            self.stopping = True
            self.changed.notify()
        if self.thread is not None:
            self.thread.join()

    def _put(self, document: bytes) -> bool:
        try:
            self.put(self.identity.folder + layout.SYSTEM_STATE, document)
        except Exception:  # whatever it is, the run is worth more than this heartbeat
            logger.warning("system-state.json could not be written", exc_info=True)
            return False
        self.written_at = time.monotonic()
        return True

    def _document(self, status: str, outcome: Outcome | None = None) -> bytes:
        report, completed = self.report, status == "completed"
        error = None
        if outcome is not None and outcome.code is not None:
            error = {"code": outcome.code, "message": outcome.message[:ERROR_LENGTH]}
        document = {
            "schema_version": 1,
            "run_id": self.identity.run_id,
            "attempt": self.identity.attempt,
            "instance_id": self.identity.instance_id,
            "seq": self.sequence.next(),
            "status": status,
            "phase": "done" if completed else report.phase,
            "progress": report.progress,
            "message": "Every artifact is uploaded and verified." if completed else report.message,
            "started_at": self.started_at,
            "heartbeat_at": utc_now(),
            "error": error,
        }
        return dump("system_state", document)
