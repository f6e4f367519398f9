"""Where the evidence of a failure lies, and what the controller says in it. Runs in Lambda; pure."""

from contracts import layout
from contracts.documents import Document
from contracts.reasons import CAUSE_LENGTH, REASONS
from lambdas.core.acceptance import iso
from lambdas.core.records import RunRecord

CAUGHT_LENGTH = 20_000
_MARK = "Evidence: "


def folder(record: RunRecord | None, execution_arn: str) -> str:
    """Return the key prefix of what tells why: logs/ of the run, or of the execution when no run was registered."""
    return f"{record.prefix}logs/" if record else layout.refusal_prefix(execution_arn.rsplit(":", 1)[-1]) + "logs/"


def located(cause: str, address: str) -> str:
    """Return a cause that says where the evidence is; one that says so already is left as it is."""
    if _MARK in cause:
        return cause
    where = f" {_MARK}{address}"
    return cause[: CAUSE_LENGTH - len(where)] + where


def document(
    execution_arn: str, record: RunRecord | None, code: str, cause: str, caught: Document | None, now: int
) -> Document:
    """Return ending.json without what EC2 has to say.

    Parameters
    ----------
    execution_arn : str
    record : RunRecord or None
        None when the execution was refused before a run was registered.
    code, cause : str
        Reason code, and the cause as the execution gives it.
    caught : dict or None
        `Error` and `Cause` as Step Functions gave them.
    now : int
        Epoch seconds.
    """
    reason = REASONS.get(code, REASONS["InternalError"])
    return {
        "schema_version": 1,
        "execution_arn": execution_arn,
        "run_id": record.run_id if record else None,
        "attempt": record.attempt if record else None,
        "at": iso(now),
        "reason_code": reason.code,
        "sentence": reason.sentence,
        "cause": cause,
        "next_step": reason.next_step,
        "caught": _caught(caught),
        "instance": None,
        "logs": [],
        "last_report": _last_report(record, now) if record else None,
        "rungs": list(record.rungs) if record else [],
    }


def _caught(error: Document | None) -> Document | None:
    if not error or "Error" not in error:
        return None
    return {"error": str(error["Error"]), "cause": str(error.get("Cause") or "")[:CAUGHT_LENGTH]}


def _last_report(record: RunRecord, now: int) -> Document | None:
    if not record.heartbeat_at:
        return None
    return {
        "status": record.state,
        "phase": record.phase,
        "progress": record.progress,
        "seconds_ago": now - record.heartbeat_at,
        "error_message": record.error_message,
    }
