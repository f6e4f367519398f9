"""What training.json says: phases, durations, boot timeline, artifacts. Runs in the supervisor."""

import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from contracts.documents import dump
from instance.identity import Identity
from instance.limits import Outcome
from instance.state_report import utc_now


@dataclass
class PhaseRecord:
    """Collects the phases of an attempt as the worker reports them.

    Parameters
    ----------
    began : float
        Monotonic seconds at the supervisor's start.
    """

    began: float = field(default_factory=time.monotonic)
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    artifacts: list[dict[str, Any]] | None = None
    open_phase: str | None = None
    open_since: float = 0.0

    def boot(self, timeline: dict[str, str], started_at: str) -> None:
        """Record the bootstrap: its named moments, and its time from the first to the supervisor."""
        seconds = (datetime.fromisoformat(utc_now()) - datetime.fromisoformat(started_at)).total_seconds()
        self.phases["boot"] = {
            "status": "pass",
            "started_at": started_at,
            "duration_seconds": round(max(0.0, seconds), 3),
            "timeline": timeline,
        }

    def begin(self, phase: str) -> None:
        """Record that a phase begins."""
        self.open_phase, self.open_since = phase, time.monotonic()
        self.phases[phase] = {"status": "interrupted", "started_at": utc_now(), "duration_seconds": 0.0}

    def finish(self, phase: str, status: str, details: dict[str, Any]) -> None:
        """Record how a phase ended."""
        if self.open_phase != phase:
            return
        duration = round(time.monotonic() - self.open_since, 3)
        self.phases[phase].update({**details, "status": status, "duration_seconds": duration})
        self.open_phase = None

    def document(self, identity: Identity, outcome: Outcome) -> bytes:
        """Return training.json; a phase that is still open ended with the outcome."""
        if self.open_phase is not None:
            self.finish(self.open_phase, "interrupted" if outcome.status == "interrupted" else "fail", {})
        error = {"code": outcome.code, "message": outcome.message} if outcome.code else None
        document = {
            "schema_version": 1,
            "run_id": identity.run_id,
            "attempt": identity.attempt,
            "instance_id": identity.instance_id,
            "status": outcome.status,
            "phases": self.phases,
            "total_duration_seconds": round(time.monotonic() - self.began, 3),
            "artifacts": self.artifacts or [],
            "error": error,
        }
        return dump("training", document)


def read_timeline(path: Path) -> dict[str, str]:
    """Read the bootstrap's timeline, lines of `<ISO time> <moment>`; a missing file is an empty one."""
    if not path.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text().splitlines())
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}
