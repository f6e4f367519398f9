"""The record of a run, one item of the runs table. Runs in Lambda and in the CLI."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from contracts import layout
from contracts.documents import Document

WAITING = "waiting"
BOOT = "boot"
TRAINING = "training"
TERMINAL_STATES = ("completed", "failed", "interrupted")


@dataclass(frozen=True)
class Attempt:
    """One instance of a run: what was launched, where, from when to when (epoch seconds, 0 while it lives).

    `spot_usd_per_hour` is what EC2 asked for the instance alone when it was launched, None when it did not say.
    `unknown` are fields of another release, which are kept. A field that is added here stops a release that does not
    know it from reading the record, up to commit 4620103: put new facts into the record itself.
    """

    attempt: int
    instance_id: str
    instance_type: str
    market: str
    zone: str
    launched_at: int
    ended_at: int = 0
    spot_usd_per_hour: float | None = None
    unknown: dict[str, Any] = field(default_factory=dict, compare=False)

    def to_entry(self) -> dict[str, Any]:
        """Return the attempt as the record keeps it, with what another release has written there."""
        entry = asdict(self)
        return {**entry.pop("unknown"), **entry}


@dataclass(frozen=True)
class RunRecord:
    """All the controller knows of a run. Times are epoch seconds of the controller's clock, 0 when not yet.

    `seq` counts the reports of the current attempt, `earlier_reports` those of the attempts before it, whose machines
    are `earlier_instances`, in their order: that is where checkpoints are. `rung` is the rung of the ladder that EC2
    was asked for last, at `rung_at`, counted on over the rounds of an attempt that has asked since `capacity_since`;
    while the run waits for capacity it is the one to be asked next, and `launch_started_at` says when. Until
    `in_flight_until` EC2 may still give, or hide, an instance that an earlier attempt asked for without an answer.
    `closed_as` is the reason code of the end for which the run was closed, "" for a success; the verdict comes later.
    `fence` grows with each try of a state that waits, see `fence_of`: an invocation that comes late has a lower one.
    """

    run_id: str
    execution_arn: str
    prefix: str
    request: Document
    created_at: int
    deadline_at: int
    estimate_usd: float = 0.0
    status: str = "accepted"
    attempt: int = 1
    attempts: tuple[Attempt, ...] = ()
    rungs: tuple[str, ...] = ()
    stage: str = ""
    task_token: str = field(default="", repr=False)
    fence: int = 0
    launch_started_at: int = 0
    launch_ended_at: int = 0
    capacity_since: int = 0
    rung: int = 0
    rung_at: int = 0
    in_flight_until: int = 0
    instance_id: str = ""
    booted_at: int = 0
    seq: int = 0
    state: str = ""
    phase: str = ""
    phase_at: int = 0
    progress: str = ""
    progress_at: int = 0
    heartbeat_at: int = 0
    interruption_at: int = 0
    error_code: str = ""
    error_message: str = ""
    closed_at: int = 0
    closed_as: str = ""
    ended_at: int = 0
    reason_code: str = ""
    cause: str = ""
    evidence: str = ""
    earlier_reports: int = 0
    earlier_instances: str = ""
    cost_usd: float = 0.0
    cost: Document = field(default_factory=dict)
    metrics: Document = field(default_factory=dict)

    @property
    def execution_name(self) -> str:
        """Name of the execution, the last part of its ARN."""
        return self.execution_arn.rsplit(":", 1)[-1]

    @property
    def ended_as(self) -> str:
        """How the run ended, in a sentence, as far as it is on record yet."""
        if not self.ended_at:
            return "It is being cleaned up."
        code = f", {self.reason_code}" if self.reason_code else ""
        return f"It ended as {self.status}{code}."

    def for_attempt(self, attempt: int) -> "RunRecord":
        """Return the record as a further attempt begins, before anything is known of its instance."""
        return self.with_changes({**FRESH_ATTEMPT, "attempt": attempt, "stage": BOOT, "launch_started_at": 0})

    def with_changes(self, changes: dict[str, Any]) -> "RunRecord":
        """Return the record with `changes` applied."""
        return replace(self, **changes)

    def to_item(self) -> dict[str, Any]:
        """Return the record as a DynamoDB item."""
        return {
            "id": self.run_id,
            "kind": "run",
            **to_attributes({f.name: getattr(self, f.name) for f in fields(self)}),
        }


# What a record says of an attempt that has not launched yet.
FRESH_ATTEMPT: dict[str, Any] = {
    "instance_id": "", "seq": 0, "state": "", "phase": "", "progress": "", "phase_at": 0, "progress_at": 0,
    "booted_at": 0, "heartbeat_at": 0, "interruption_at": 0, "error_code": "", "error_message": "",
}  # fmt: skip

# What fits into a tag's 256 characters, https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
_MOST_EARLIER = 12
_STRUCTURED = ("request", "attempts", "rungs", "cost", "metrics")
_FLOATS = ("estimate_usd", "cost_usd")
TRIES_OF_A_STATE = 1000


def to_attributes(changes: dict[str, Any]) -> dict[str, Any]:
    """Return record fields as DynamoDB attribute values: structures as JSON text, floats as Decimal."""
    return {name: _to_attribute(name, value) for name, value in changes.items()}


def earlier_instances(record: RunRecord) -> str:
    """Return the ids of all instances a run has had so far, for its next attempt: in their order, spaces between."""
    ids = [*(entry.instance_id for entry in record.attempts), record.instance_id]
    return " ".join(list(dict.fromkeys(filter(None, ids)))[-_MOST_EARLIER:])


def usd(value: float) -> Decimal:
    """Return an amount as it is stored, to a millionth of a dollar."""
    return Decimal(str(round(value, 6)))


def fence_of(entered_at: str, retry_count: int) -> int:
    """Return a number that grows with each entry into a state and with each try of it.

    Parameters
    ----------
    entered_at : str
        When the state was entered, ISO 8601, to the millisecond; the same for all tries of one entry.
    retry_count : int
        How often it was tried before.
    """
    entered_ms = round(datetime.fromisoformat(entered_at).timestamp() * 1000)
    return entered_ms * TRIES_OF_A_STATE + min(retry_count, TRIES_OF_A_STATE - 1)


def fence_in(event: dict[str, Any]) -> int:
    """Return the fence of a waiting state's event; 0 of a workflow that began before its states passed it."""
    entered_at = event.get("entered_at")
    return fence_of(entered_at, int(event.get("retry_count", 0))) if entered_at else 0


def from_item(item: dict[str, Any]) -> RunRecord:
    """Return the record that a DynamoDB item holds, whatever release has written it.

    Attributes that are no fields are left out, and stay in the item. What cannot be read takes the field's default, so
    that a run can be cleaned up whatever its record says.
    """
    given = {f.name: _from_attribute(f.name, item[f.name]) for f in fields(RunRecord) if f.name in item}
    values = {name: value for name, value in given.items() if value is not None}
    return RunRecord(**{**_required(item), **values})


def _required(item: dict[str, Any]) -> dict[str, Any]:
    """Return values for the fields without a default."""
    run_id = str(item["id"])
    return {
        "run_id": run_id,
        "execution_arn": "",
        "prefix": layout.run_prefix(run_id),
        "request": {},
        "created_at": 0,
        "deadline_at": 0,
    }


def _to_attribute(name: str, value: Any) -> Any:
    if name == "attempts":
        return json.dumps([entry.to_entry() if isinstance(entry, Attempt) else entry for entry in value])
    if name in _STRUCTURED:
        return json.dumps(value)
    return usd(value) if name in _FLOATS else value


def _from_attribute(name: str, value: Any) -> Any:
    """Return the value of a field, None when the attribute holds nothing of its kind."""
    try:
        return _READ[name](value)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        return None


def _attempts(text: str) -> tuple[Attempt, ...]:
    return tuple(_attempt(entry) for entry in json.loads(text))


def _attempt(entry: dict[str, Any]) -> Attempt:
    known = {f.name for f in fields(Attempt)} - {"unknown"}
    given = {name: value for name, value in entry.items() if name in known}
    unknown = {name: value for name, value in entry.items() if name not in known}
    return Attempt(**{**_LOST_ATTEMPT, **given}, unknown=unknown)


def _object(text: str) -> Document:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise TypeError(f"expected an object, found {type(document).__name__}")
    return document


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, found {type(value).__name__}")
    return value


_LOST_ATTEMPT = {
    "attempt": 0, "instance_id": "", "instance_type": "", "market": "on_demand", "zone": "", "launched_at": 0,
}  # fmt: skip
_OF_KIND: dict[Any, Any] = {int: int, float: float, str: _text}
_READ: dict[str, Any] = {
    **{f.name: _OF_KIND.get(f.type, _object) for f in fields(RunRecord)},
    "attempts": _attempts,
    "rungs": lambda text: tuple(map(str, json.loads(text))),
}
