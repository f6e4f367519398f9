"""What a report of the instance changes, and what the waiting state is told. Runs in Lambda; pure."""

from dataclasses import dataclass
from typing import Any, Literal

from contracts.documents import Document
from contracts.reasons import reported
from lambdas.core.records import BOOT, TERMINAL_STATES, TRAINING, RunRecord

Kind = Literal["success", "failure", "heartbeat"]


@dataclass(frozen=True)
class Settlement:
    """What to send for the task token of the waiting state."""

    kind: Kind
    output: Document | None = None
    code: str = ""
    message: str = ""


def refusal(record: RunRecord, state: Document) -> str | None:
    """Return why `state` says nothing about the current attempt of `record`, or None when it does.

    Early, late, duplicate, reordered and foreign reports all end here: run, attempt and instance must match, `seq`
    only grows, and a terminal state absorbs all that follow.
    """
    if state["run_id"] != record.run_id:
        return f"of another run, {state['run_id']}"
    if state["attempt"] != record.attempt:
        return f"of attempt {state['attempt']}, the current one is {record.attempt}"
    if record.instance_id and state["instance_id"] != record.instance_id:
        return f"of instance {state['instance_id']}, the current one is {record.instance_id}"
    if record.state in TERMINAL_STATES:
        return f"the attempt already {record.state}"
    if state["seq"] <= record.seq:
        return f"seq {state['seq']} is not above {record.seq}"
    return None


def advance(record: RunRecord, state: Document, now: int) -> dict[str, Any]:
    """Return the fields of `record` that a report which was not refused changes."""
    error = state.get("error") or {}
    changes: dict[str, Any] = {
        "seq": state["seq"],
        "state": state["status"],
        "heartbeat_at": now,
        "instance_id": state["instance_id"],
        "booted_at": record.booted_at or now,
        "error_code": error.get("code", ""),
        "error_message": error.get("message", ""),
    }
    progress = _progress_of(state)
    if progress != record.progress:
        changes |= {"progress": progress, "progress_at": now}
    if state["phase"] != record.phase:
        changes |= {"phase": state["phase"], "phase_at": now}
    return changes


def settlement(record: RunRecord, now: int) -> Settlement | None:
    """Return what the waiting state must hear, given all that is recorded; None when there is nothing to say."""
    if record.stage == BOOT:
        return _boot_settlement(record, now)
    if record.stage == TRAINING:
        return _training_settlement(record, now)
    return None


def _boot_settlement(record: RunRecord, now: int) -> Settlement | None:
    if record.state == "failed":
        return _failure(record)
    return Settlement("success", boot_output(record, now)) if record.seq else None


def boot_output(record: RunRecord, now: int) -> Document:
    """Return what the state machine keeps of a boot: what it waits for next, and how long at most (seconds)."""
    return {
        "instance_id": record.instance_id,
        "boot_seconds": max(0, record.booted_at - record.launch_started_at),
        "training_timeout_seconds": training_timeout_seconds(record, now),
    }


def _training_settlement(record: RunRecord, now: int) -> Settlement | None:
    if record.state == "completed":
        return Settlement("success", {"status": "completed", "training_seconds": max(0, now - record.booted_at)})
    if record.state in ("failed", "interrupted"):
        return _failure(record)
    return stalled(record, now) or (Settlement("heartbeat") if record.seq else None)


def own_reason(record: RunRecord) -> tuple[str, str]:
    """Return code and message of a machine that reported its end; only codes that a machine can know are believed."""
    fallback = "SpotInterrupted" if record.state == "interrupted" else "TrainingFailed"
    return reported(record.error_code, record.error_message, fallback)


def _failure(record: RunRecord) -> Settlement:
    code, message = own_reason(record)
    return Settlement("failure", code=code, message=message)


def stalled(record: RunRecord, now: int) -> Settlement | None:
    """Return the failure of an instance that reports and gets nowhere, None while it does."""
    still = now - max(record.progress_at, record.booted_at)
    allowed = record.request["no_progress_timeout_seconds"]
    if still > allowed:
        return Settlement(
            "failure",
            code="NoProgress",
            message=f"{record.progress or 'No progress'} for {still} s, allowed {allowed} s.",
        )
    phase_allowed = record.request["phase_timeout_seconds"]
    in_phase = now - record.phase_at
    if phase_allowed and record.phase_at and in_phase > phase_allowed:
        message = f"Phase {record.phase} for {in_phase} s, allowed {phase_allowed} s."
        return Settlement("failure", code="PhaseTimedOut", message=message)
    return None


def training_timeout_seconds(record: RunRecord, now: int) -> int:
    """Return how long training may take: until the deadline, and a heartbeat more for the instance's own verdict."""
    return max(1, record.deadline_at - now) + int(record.request["heartbeat_timeout_seconds"])


def _progress_of(state: Document) -> str:
    progress = state.get("progress")
    if not progress:
        return str(state["phase"])
    total = "" if progress["total"] is None else f"/{progress['total']}"
    return f"{state['phase']} {progress['step']}{total} {progress['unit']}"
