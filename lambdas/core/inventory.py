"""What a run has left, and what to do about it, in which order. Runs in Lambda; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from contracts import layout
from contracts.documents import Document
from lambdas.core.records import RunRecord

INSTANCES, SCHEDULES = "instances", "schedules"
# What is looked at by tag, in this order: each kind on its own.
TAGGED_KINDS = (
    INSTANCES,
    "volumes",
    "snapshots_in_progress",
    "network_interfaces",
    "nat_gateways",
    "addresses",
)
KINDS = (*TAGGED_KINDS, SCHEDULES)
GONE, LEFT, UNKNOWN, ARMED = "gone", "left", "unknown", "armed"
PROBLEM_LENGTH = 300
# Rounds of the state Cleanup, 15 seconds apart: EC2 takes minutes to end an instance.
MOST_ROUNDS, MOST_BLIND_ROUNDS = 40, 5

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
class Tag:
    """The tag by which a run's resources are found; without a value it stands for those of any run."""

    key: str
    value: str = ""


ANY_RUN = Tag(layout.TAG_RUN_ID)


def of_run(run_id: str) -> Tag:
    """Return the tag of all that a run owns."""
    return Tag(layout.TAG_RUN_ID, run_id)


def of_execution(execution_arn: str) -> Tag:
    """Return the tag of the instances that an execution launched, for who does not know the run."""
    return Tag(layout.TAG_EXECUTION, execution_arn)


@dataclass(frozen=True)
class Inventory:
    """What was found of a run.

    `unseen` are launches that EC2 may not show yet; `unknown` the kinds that could not be looked at, and why: they
    count as left. `schedules` are the dead-man schedules that are armed, or None when nobody has looked.
    """

    resources: tuple[Resource, ...] = ()
    unseen: tuple[str, ...] = ()
    terminated: frozenset[str] = field(default_factory=frozenset)
    unknown: Mapping[str, str] = field(default_factory=dict)
    schedules: tuple[str, ...] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is left, seen, unseen or unknown; the dead-man schedule goes later and does not count."""
        return not self.resources and not self.unseen and not set(self.unknown) - {SCHEDULES}

    @property
    def instances_gone(self) -> bool:
        """Whether it is known that no instance is left or may yet appear."""
        return not self.left(INSTANCES) and INSTANCES not in self.unknown

    @property
    def known(self) -> bool:
        """Whether every kind that is left was seen, so that waiting may help."""
        return bool(self.resources or self.unseen)

    def left(self, kind: str) -> list[str]:
        """Return the ids left of a kind."""
        seen = [f"{r.resource_id} ({r.state})" for r in self.resources if r.kind == kind]
        return sorted(seen) + (sorted(self.unseen) if kind == INSTANCES else [])

    def state(self, kind: str) -> str:
        """Return what is known of a kind: gone, left, unknown, or armed for a schedule that waits for the verdict."""
        if kind in self.unknown:
            return UNKNOWN
        if kind == SCHEDULES and self.schedules:
            return ARMED
        return LEFT if self.left(kind) else GONE

    def remaining(self) -> list[str]:
        """Return what is left, ids first, then the kinds that could not be looked at; schedules do not count."""
        left = [item for kind in TAGGED_KINDS for item in self.left(kind)]
        return left + [f"{kind} (unknown: {self.unknown[kind]})" for kind in TAGGED_KINDS if kind in self.unknown]


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
    """Return what to delete now, in order.

    An instance takes its volume and interface along, so those are deleted only once no instance is left. Where the
    instances cannot be looked at, that does not keep the others: what is deletable belongs to no instance any more.
    """
    instances = [r for r in inventory.resources if r.kind == INSTANCES]
    if instances or inventory.unseen:
        return [r for r in instances if r.state != "shutting-down"]
    return [r for r in inventory.resources if r.deletable]


def finished(inventory: Inventory, rounds: int) -> bool:
    """Return whether the workflow is done with cleanup: nothing is left, or it has looked often enough.

    What cannot be looked at becomes known by waiting less often than an instance ends by it.
    """
    return inventory.empty or rounds >= (MOST_ROUNDS if inventory.known else MOST_BLIND_ROUNDS)


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
        problem = inventory.unknown.get(kind)
        kinds[kind] = {"state": inventory.state(kind), "left": inventory.left(kind)}
        kinds[kind] |= {"problem": problem[:PROBLEM_LENGTH]} if problem else {}
    return {
        "schema_version": 1,
        "run_id": run_id,
        "checked_at": checked_at,
        "checked_by": checked_by,
        "everything_gone": all(entry["state"] in (GONE, ARMED) for entry in kinds.values()),
        "inventory": kinds,
        "actions": actions,
    }
