"""Why an instance is gone: what EC2 says of its end, weighed with the recorded times. Runs in Lambda; pure."""

from lambdas.core.instances import ended
from lambdas.core.records import RunRecord

_BOOTING = ("", "boot")


def loss(record: RunRecord, state: str, reason: str, now: int) -> tuple[str, str]:
    """Return reason code and detail of an attempt whose instance is gone before its last report.

    Parameters
    ----------
    record : RunRecord
    state, reason : str
        Of the instance, as EC2 says; `reason` is the code of its StateReason, "" when it is not known.
    now : int
        Epoch seconds.
    """
    name, seen, how = record.instance_id or "The instance", last_seen(record, now), ended(reason)
    if record.interruption_at or how == "by spot":
        noticed = f"Notice {now - record.interruption_at} s ago" if record.interruption_at else "Without a notice"
        return "SpotInterrupted", f"{noticed}; {seen}"
    if how == "by itself":
        return _own_shutdown(record, name, seen, now)
    said = f", EC2 says {reason}" if reason else ""
    return "InstanceLost", f"{name} is {state}{said}; {seen}"


def _own_shutdown(record: RunRecord, name: str, seen: str, now: int) -> tuple[str, str]:
    if now >= record.deadline_at:
        return "RunTimedOut", f"{name} switched itself off at its own time limit; {seen}"
    if record.phase in _BOOTING:
        return "BootFailed", f"{name} switched itself off while it booted; {seen}"
    return "InstanceLost", f"{name} switched itself off without a last report; {seen}"


def last_seen(record: RunRecord, now: int) -> str:
    """Return what the last report said and when, in words."""
    at = record.progress or record.phase
    if record.heartbeat_at:
        return f"last report {now - record.heartbeat_at} s ago, at {at}."
    return f"last seen at {at}." if at else "the instance never reported."
