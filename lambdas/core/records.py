"""The record of a run, one item of the runs table. Runs in Lambda and in the CLI."""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from decimal import Decimal
from typing import Any

from contracts.documents import Document

WAITING = "waiting"
BOOT = "boot"
TRAINING = "training"
TERMINAL_STATES = ("completed", "failed", "interrupted")


@dataclass(frozen=True)
class Attempt:
    """One instance of a run: what was launched, where, from when to when (epoch seconds, 0 while it lives).

    `spot_usd_per_hour` is what EC2 asked for the instance alone when it was launched, None when it did not say.
    """

    attempt: int
    instance_id: str
    instance_type: str
    market: str
    zone: str
    launched_at: int
    ended_at: int = 0
    spot_usd_per_hour: float | None = None


@dataclass(frozen=True)
class RunRecord:
    """All the controller knows of a run. Times are epoch seconds of the controller's clock, 0 when not yet.

    `seq` counts the reports of the current attempt, `earlier_reports` those of the attempts before it, whose machines
    are `earlier_instances`, in their order: that is where checkpoints are. `rung` is the rung of the ladder that EC2
    was asked for last, at `rung_at`, counted on over the rounds of an attempt that has asked since `capacity_since`;
    while the run waits for capacity it is the one to be asked next, and `launch_started_at` says when. Until
    `in_flight_until` EC2 may still give, or hide, an instance that an earlier attempt asked for without an answer.
    `closed_as` is the reason code of the end for which the run was closed, "" for a success; the verdict comes later.
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

    def with_changes(self, changes: dict[str, Any]) -> "RunRecord":
        """Return the record with `changes` applied."""
        return replace(self, **changes)

    def to_item(self) -> dict[str, Any]:
        """Return the record as a DynamoDB item."""
        return {"id": self.run_id, "kind": "run", **to_attributes(asdict(self))}


# What fits into a tag's 256 characters, https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
_MOST_EARLIER = 12
_STRUCTURED = ("request", "attempts", "rungs", "cost", "metrics")
_FLOATS = ("estimate_usd", "cost_usd")


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


def from_item(item: dict[str, Any]) -> RunRecord:
    """Return the record that a DynamoDB item holds; attributes that are no fields are left out."""
    values = {f.name: _from_attribute(f.name, item[f.name]) for f in fields(RunRecord) if f.name in item}
    return RunRecord(**values)


def _to_attribute(name: str, value: Any) -> Any:
    if name == "attempts":
        return json.dumps([asdict(entry) if isinstance(entry, Attempt) else entry for entry in value])
    if name in _STRUCTURED:
        return json.dumps(value)
    return usd(value) if name in _FLOATS else value


def _from_attribute(name: str, value: Any) -> Any:
    if name == "attempts":
        return tuple(Attempt(**entry) for entry in json.loads(value))
    if name == "rungs":
        return tuple(json.loads(value))
    if name in _STRUCTURED:
        return json.loads(value)
    if isinstance(value, Decimal):
        return float(value) if name in _FLOATS else int(value)
    return value
