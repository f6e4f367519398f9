"""How an attempt ended: one reason code from what failed and what is recorded, and what comes next. Lambda; pure."""

import json
from dataclasses import dataclass

from contracts.documents import Document
from contracts.reasons import REASONS, explain
from lambdas.core.evidence import located
from lambdas.core.instances import GONE
from lambdas.core.losses import last_seen, loss
from lambdas.core.records import BOOT, TERMINAL_STATES, RunRecord
from lambdas.core.reducer import boot_output, own_reason, stalled

COMPLETED = "completed"
# No end: the instance reports, and it was the events about that which did not come.
AWAIT = "await"
# AWS reports a missed heartbeat as States.Timeout though it documents States.HeartbeatTimeout: take both.
_TIMEOUTS = ("States.Timeout", "States.HeartbeatTimeout")
_TOO_LARGE = "States.DataLimitExceeded"

ENDED = "RunEnded"

# These say nothing of the instance: what that reported itself comes first.
_CALL_FAILED = ("AwsUnavailable", "PermissionMissing")
# How an execution ends that was ended from outside of its own states: these say nothing of the run.
_ENDED_FROM_OUTSIDE = ("Aborted", "ExecutionTimedOut", "InternalError", ENDED)
_CODES = {"ABORTED": "Aborted", "TIMED_OUT": "ExecutionTimedOut"}
# A round takes about 15 of the 25,000 events that an execution may have.
MOST_RETURNS = 500
# What a machine needs at least until its first report, as long as nothing was measured.
BOOT_SECONDS = 180
NAMED_LEFTOVERS = 10


@dataclass(frozen=True)
class Ending:
    """How an attempt ended: `completed`, or a reason code with its detail."""

    code: str
    detail: str = ""

    @property
    def completed(self) -> bool:
        """Whether the instance did its work; its artifacts are not yet verified."""
        return self.code == COMPLETED

    @property
    def goes_on(self) -> bool:
        """Whether the instance works, so that the run goes back to waiting for it."""
        return self.code == AWAIT


def ending(
    record: RunRecord | None,
    error: Document | None,
    now: int,
    instance_state: str = "",
    instance_reason: str = "",
    may_await: bool = False,
) -> Ending:
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
    instance_state, instance_reason : str
        What EC2 says of the instance, "" when it says nothing: a timeout of an instance that is gone is a loss.
    may_await : bool
        Whether the run can go back to waiting, when the instance reports and only the events about that stay away.
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
        return _timed_out(record, now, instance_state, instance_reason, may_await)
    return _of_the_controller(record, name, detail)


def _of_the_controller(record: RunRecord | None, name: str, detail: str) -> Ending:
    """Return the end of an attempt by an error that says nothing of its instance."""
    if name in _CALL_FAILED:
        return Ending(name, detail)
    if name == _TOO_LARGE and record is None:
        return Ending("RequestInvalid", "The request: expected at most 250 KB of JSON, found more.")
    return Ending("InternalError", f"{name}: {detail}" if name else "The workflow ended without an error or a result.")


def _timed_out(record: RunRecord, now: int, state: str, reason: str, may_await: bool) -> Ending:
    request, seen = record.request, last_seen(record, now)
    if now >= record.deadline_at:
        return Ending("RunTimedOut", f"The limit is {request['max_runtime_minutes']:g} minutes; {seen}")
    if record.interruption_at or state in GONE:
        return Ending(*loss(record, state, reason, now))
    if _reports(record, now):
        if still := stalled(record, now):
            return Ending(still.code, still.message)
        if may_await:
            return Ending(AWAIT)
    elif record.stage == BOOT:
        began = record.launch_started_at
        waited = f"Waited {now - began} s" if began else "The launch never began"
        return Ending("BootTimedOut", f"{waited}, allowed {request['boot_timeout_seconds']} s.")
    return Ending("HeartbeatLost", f"Allowed {request['heartbeat_timeout_seconds']} s; {seen}")


def _reports(record: RunRecord, now: int) -> bool:
    """Return whether the instance has reported within its heartbeat timeout: it is alive, whoever has heard of it."""
    return bool(record.seq) and now - record.heartbeat_at < record.request["heartbeat_timeout_seconds"]


def _on_record(record: RunRecord | None, now: int) -> str:
    """Return what the record tells of a failure whose cause did not come along."""
    if record is None or not record.heartbeat_at:
        return ""
    return record.error_message or f"The {last_seen(record, now)}"


def _message(error: Document | None) -> str:
    """Return the message in a Cause; a failed Lambda's Cause is JSON with errorMessage in it."""
    cause = str((error or {}).get("Cause") or "")
    try:
        document = json.loads(cause)
    except (ValueError, RecursionError):
        return cause
    return str(document.get("errorMessage", cause)) if isinstance(document, dict) else cause


def recorded_verdict(record: RunRecord | None, verdict: Document) -> Document:
    """Return the verdict that an execution ends with: its own, unless another one is on record, which stands.

    Only a redrive, or two nets at once, can come to a second verdict. A success that is on record is one.
    """
    if record is None or not record.ended_at:
        return verdict
    if record.status == COMPLETED:
        return completed()
    if verdict["status"] != COMPLETED and verdict["reason_code"] == record.reason_code:
        return verdict
    return {"status": "failed", "reason_code": ENDED, "cause": explain(ENDED, record.ended_as)}


def verdict_to_record(record: RunRecord, ended_as: Document) -> Document:
    """Return the verdict to record of an execution that has ended: that for which its run was closed before.

    What ends an execution from outside while its run is being cleaned up changes nothing of how the run ended.
    """
    code = record.closed_as
    if not record.closed_at or ended_as["reason_code"] not in _ENDED_FROM_OUTSIDE:
        return ended_as
    if code in (ENDED, ended_as["reason_code"]):
        return ended_as
    return failed(code, explain(code, "")) if code else completed()


def verdict_of_execution(detail: Document) -> Document:
    """Return the verdict that the end of an execution tells, given the detail of its status-change event.

    The state machine fails with a reason code as its error, and the dead-man switch stops it with one; what a person
    gives with a stop decides nothing, but it is the detail of the cause.
    """
    if detail["status"] == "SUCCEEDED":
        return completed()
    code, said = _code(detail), detail.get("cause") or ""
    return failed(code, said if "Next: " in said else explain(code, f"{detail.get('error') or ''} {said}"))


def completed() -> Document:
    """Return the verdict of a success."""
    return {"status": COMPLETED, "reason_code": None, "cause": None}


def failed(code: str, cause: str) -> Document:
    """Return the verdict of a run that did not succeed."""
    return {"status": "aborted" if code == "Aborted" else "failed", "reason_code": code, "cause": cause}


def with_leftovers(verdict: Document, left: list[str], where: str) -> Document:
    """Return a verdict that says what is left of the run, which is no success, and where its evidence lies."""
    told = {name: verdict[name] for name in ("status", "reason_code", "cause")}
    listing = f"Left: {', '.join(left[:NAMED_LEFTOVERS])}."
    if left and told["status"] == COMPLETED:
        told = failed("CleanupIncomplete", explain("CleanupIncomplete", listing))
    elif left:
        told |= {"cause": f"{told['cause']} {listing}"}
    return told if told["cause"] is None else {**told, "cause": located(told["cause"], where)}


def _code(detail: Document) -> str:
    """Return the reason code of an execution that did not succeed."""
    error, status = detail.get("error"), detail["status"]
    if status == "FAILED":
        return str(error) if error in REASONS else "InternalError"
    return "ExecutionTimedOut" if error == "ExecutionTimedOut" else _CODES.get(status, "InternalError")


def outcome(record: RunRecord | None, end: Ending, now: int, may_retry: bool = True, returns: int = 0) -> Document:
    """Return the outcome that the state machine branches on: status, reason, cause, and `next`: retry, await, cleanup.

    Parameters
    ----------
    record : RunRecord or None
        As of the attempt that ended.
    end : Ending
    now : int
        Epoch seconds.
    may_retry : bool
        Whether the state machine holds what another attempt needs.
    returns : int
        How often the run went back to waiting so far.
    """
    if end.completed:
        return _outcome(COMPLETED, None, None)
    if end.goes_on and record:
        told = _outcome("running", None, "Reports came that no event told of.")
        return {**told, "next": AWAIT, "boot": boot_output(record, now), "returns": returns + 1}
    cause = explain(end.code, end.detail)
    if record and may_retry and _retries(record, end.code, now):
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
    return {
        "status": status,
        "reason_code": code,
        "cause": cause,
        "next": following,
        "next_attempt": next_attempt,
        "boot": None,
        "returns": 0,
    }


def _retries(record: RunRecord, code: str, now: int) -> bool:
    return (
        REASONS[code].retryable
        and record.attempt < record.request["max_attempts"]
        and not record.closed_at
        and now + _boot_seconds(record) < record.deadline_at
    )


def _boot_seconds(record: RunRecord) -> int:
    """Return how long the next machine is expected to boot: as long as this one, as far as that is known."""
    if record.booted_at:
        return max(1, record.booted_at - record.launch_started_at)
    return min(BOOT_SECONDS, int(record.request["boot_timeout_seconds"]))
