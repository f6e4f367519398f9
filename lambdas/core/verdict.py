"""How an attempt ended: one reason code from what failed and what is recorded, and what comes next. Lambda; pure."""

import json
from dataclasses import dataclass

from contracts.documents import Document
from contracts.reasons import REASONS, explain
from lambdas.core.records import BOOT, TERMINAL_STATES, RunRecord
from lambdas.core.reducer import own_reason

COMPLETED = "completed"
GONE = ("shutting-down", "terminated", "stopping", "stopped")
# AWS reports a missed heartbeat as States.Timeout though it documents States.HeartbeatTimeout: take both.
_TIMEOUTS = ("States.Timeout", "States.HeartbeatTimeout")

ENDED = "RunEnded"

# These say nothing of the instance: what that reported itself comes first.
_CALL_FAILED = ("AwsUnavailable", "PermissionMissing")


@dataclass(frozen=True)
class Ending:
    """How an attempt ended: `completed`, or a reason code with its detail."""

    code: str
    detail: str = ""

    @property
    def completed(self) -> bool:
        """Whether the instance did its work; its artifacts are not yet verified."""
        return self.code == COMPLETED


def ending(record: RunRecord | None, error: Document | None, now: int, instance_state: str = "") -> Ending:
    """Return how the attempt ended.

    Parameters
    ----------
    record : RunRecord or None
        With the newest system-state.json already applied: if that says completed, it completed, whatever failed. Unless
        the run was closed before: then this is a redrive, and what the run ended as is on record or soon will be.
    error : dict or None
        `Error` and `Cause` that Step Functions caught.
    now : int
        Epoch seconds.
    instance_state : str
        What EC2 says of the instance, "" when it says nothing: a timeout of an instance that is gone is a loss.
    """
    if record and (record.closed_at or record.state == COMPLETED):
        return Ending(ENDED, record.ended_as) if record.closed_at else Ending(COMPLETED)
    name = (error or {}).get("Error", "")
    detail = _message(error)
    if name in REASONS and name not in _CALL_FAILED:
        return Ending(name, detail or _on_record(record, now))
    if record and record.state in TERMINAL_STATES:
        return Ending(*own_reason(record))
    if record and name in _TIMEOUTS:
        return _timed_out(record, now, instance_state)
    if name in _CALL_FAILED:
        return Ending(name, detail)
    return Ending("InternalError", f"{name}: {detail}" if name else "The workflow ended without an error or a result.")


def _timed_out(record: RunRecord, now: int, instance_state: str) -> Ending:
    request = record.request
    if now >= record.deadline_at:
        return Ending(
            "RunTimedOut", f"The limit is {request['max_runtime_minutes']:g} minutes; {_last_seen(record, now)}"
        )
    if record.interruption_at:
        return Ending("SpotInterrupted", f"Notice {now - record.interruption_at} s ago; {_last_seen(record, now)}")
    if instance_state in GONE:
        return Ending("InstanceLost", f"{record.instance_id} is {instance_state}; {_last_seen(record, now)}")
    if record.stage == BOOT:
        waited = now - record.launch_started_at
        return Ending("BootTimedOut", f"Waited {waited} s, allowed {request['boot_timeout_seconds']} s.")
    return Ending("HeartbeatLost", f"Allowed {request['heartbeat_timeout_seconds']} s; {_last_seen(record, now)}")


def _on_record(record: RunRecord | None, now: int) -> str:
    """Return what the record tells of a failure whose cause did not come along."""
    if record is None or not record.heartbeat_at:
        return ""
    return record.error_message or f"The {_last_seen(record, now)}"


def _last_seen(record: RunRecord, now: int) -> str:
    if not record.heartbeat_at:
        return "the instance never reported."
    return f"last report {now - record.heartbeat_at} s ago, at {record.progress or record.phase}."


def _message(error: Document | None) -> str:
    """Return the message in a Cause; a failed Lambda's Cause is JSON with errorMessage in it."""
    cause = str((error or {}).get("Cause") or "")
    try:
        document = json.loads(cause)
    except (ValueError, RecursionError):
        return cause
    return str(document.get("errorMessage", cause)) if isinstance(document, dict) else cause


def standing(record: RunRecord | None, verdict: Document) -> Document:
    """Return the verdict that an execution ends with: its own, unless another one is on record, which stands.

    Only a redrive, or two nets at once, can come to a second verdict. A success that is on record is one.
    """
    if record is None or not record.ended_at:
        return verdict
    if record.status == COMPLETED:
        return {"status": COMPLETED, "reason_code": None, "cause": None}
    if verdict["status"] != COMPLETED and verdict["reason_code"] == record.reason_code:
        return verdict
    return {"status": "failed", "reason_code": ENDED, "cause": explain(ENDED, record.ended_as)}


def outcome(record: RunRecord | None, end: Ending, now: int) -> Document:
    """Return the outcome that the state machine branches on: status, reason, cause, and `next`: retry or cleanup."""
    if end.completed:
        return _outcome("completed", None, None)
    cause = explain(end.code, end.detail)
    if record and _may_retry(record, end.code, now):
        return _outcome("failed", end.code, cause, record.attempt + 1)
    return _outcome("failed", end.code, cause)


def assumed(error: Document | None) -> Document:
    """Return the outcome of a run that CollectOutcome failed to judge: artifacts that nobody verified are no success.

    Parameters
    ----------
    error : dict or None
        `Error` and `Cause` that Step Functions caught from CollectOutcome.
    """
    name = (error or {}).get("Error", "")
    code = name if name in _CALL_FAILED else "InternalError"
    said = " ".join(part for part in ("" if code == name else name, _message(error)) if part)
    return _outcome("failed", code, explain(code, f"CollectOutcome could not judge the run: {said}"))


def _outcome(status: str, code: str | None, cause: str | None, next_attempt: int | None = None) -> Document:
    following = "retry" if next_attempt else "cleanup"
    return {"status": status, "reason_code": code, "cause": cause, "next": following, "next_attempt": next_attempt}


def _may_retry(record: RunRecord, code: str, now: int) -> bool:
    return (
        REASONS[code].retryable
        and record.attempt < record.request["max_attempts"]
        and not record.closed_at
        and now < record.deadline_at
    )
