"""What a run has left, and what to do about it, in which order. Runs in Lambda; pure."""

from dataclasses import dataclass, field
from typing import Any

from contracts.documents import Document
from lambdas.core.records import RunRecord

KINDS = (
    "instances",
    "volumes",
    "snapshots_in_progress",
    "network_interfaces",
    "nat_gateways",
    "addresses",
    "schedules",
)

# How long after EC2 was asked for an instance it may still give one or hide it, its answer unknown; and how long it may
# hide an instance it has given from DescribeInstances (https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html).
LAUNCH_IN_FLIGHT_SECONDS = 150
VISIBILITY_SECONDS = 300


@dataclass(frozen=True)
class Resource:
    """A resource that carries the run's tags."""

    kind: str
    resource_id: str
    state: str
    deletable: bool = True


@dataclass(frozen=True)
class Inventory:
    """What was found of a run; `unseen` are launches that EC2 may not show yet."""

    resources: tuple[Resource, ...] = ()
    unseen: tuple[str, ...] = ()
    terminated: frozenset[str] = field(default_factory=frozenset)

    @property
    def empty(self) -> bool:
        """Whether nothing is left, seen or unseen."""
        return not self.resources and not self.unseen

    def left(self, kind: str) -> list[str]:
        """Return the ids left of a kind."""
        seen = [f"{r.resource_id} ({r.state})" for r in self.resources if r.kind == kind]
        return sorted(seen) + (sorted(self.unseen) if kind == "instances" else [])


def in_flight_until(record: RunRecord) -> int:
    """Return until when a launch without an answer may still show an instance, in epoch seconds, 0 when none may.

    To be carried over to the next attempt, whose own launch says nothing of this one's.
    """
    unanswered = record.rung_at + LAUNCH_IN_FLIGHT_SECONDS if record.rung_at > record.launch_ended_at else 0
    reported = record.booted_at + VISIBILITY_SECONDS if _unlisted(record) else 0
    return max(record.in_flight_until, unanswered, reported)


def _unlisted(record: RunRecord) -> str:
    """Return the instance that has reported though nobody heard EC2's answer, "" when there is none."""
    return "" if any(a.instance_id == record.instance_id for a in record.attempts) else record.instance_id


def unseen_launches(record: RunRecord, seen: set[str], now: int) -> tuple[str, ...]:
    """Return launches that may exist without being visible: in flight, or too new for DescribeInstances.

    Parameters
    ----------
    record : RunRecord
    seen : set of str
        Ids of all instances that DescribeInstances showed for the run, terminated ones too.
    now : int
        Epoch seconds.
    """
    pending = []
    if now < record.in_flight_until:
        pending.append("a launch of an earlier attempt in flight")
    if record.rung_at > record.launch_ended_at and now - record.rung_at < LAUNCH_IN_FLIGHT_SECONDS:
        pending.append(f"a launch of attempt {record.attempt} in flight")
    if _unlisted(record) and record.instance_id not in seen and now - record.booted_at < VISIBILITY_SECONDS:
        pending.append(f"{record.instance_id} (not visible yet)")
    for attempt in record.attempts:
        young = now - attempt.launched_at < VISIBILITY_SECONDS
        if young and not attempt.ended_at and attempt.instance_id not in seen:
            pending.append(f"{attempt.instance_id} (not visible yet)")
    return tuple(pending)


def plan(inventory: Inventory) -> list[Resource]:
    """Return what to delete now, in order. The dead-man schedule goes only when nothing else is left.

    An instance takes its volume and interface along, so those are deleted only once no instance is left.
    """
    instances = [r for r in inventory.resources if r.kind == "instances"]
    if instances or inventory.unseen:
        return [r for r in instances if r.state != "shutting-down"]
    others = [r for r in inventory.resources if r.kind != "schedules"]
    if others:
        return [r for r in others if r.deletable]
    return [r for r in inventory.resources if r.kind == "schedules"]


def supersedes(new: Document, old: Document | None) -> bool:
    """Return whether a receipt takes the place of another: the later look counts, and of the same second "gone".

    Two functions may clean up a run at once; whoever looked first may be the last to write.
    """
    if old is None or new["checked_at"] > old["checked_at"]:
        return True
    same_second = new["checked_at"] == old["checked_at"]
    return bool(same_second and (new["everything_gone"] or not old["everything_gone"]))


def receipt(run_id: str, checked_by: str, checked_at: str, inventory: Inventory, actions: list[Document]) -> Document:
    """Return cleanup_status.json."""
    kinds: dict[str, Any] = {}
    for kind in KINDS:
        left = inventory.left(kind)
        kinds[kind] = {"state": "left" if left else "gone", "left": left}
    return {
        "schema_version": 1,
        "run_id": run_id,
        "checked_at": checked_at,
        "checked_by": checked_by,
        "everything_gone": inventory.empty,
        "inventory": kinds,
        "actions": actions,
    }
