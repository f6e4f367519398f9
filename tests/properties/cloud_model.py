"""A small model of the cloud around the pure core: EC2 that hides, a table with conditions, a workflow. For pytest."""

from dataclasses import dataclass, field
from typing import Any

from contracts.documents import Document
from lambdas.core import reducer
from lambdas.core.inventory import (
    LAUNCH_IN_FLIGHT_SECONDS,
    VISIBILITY_SECONDS,
    Inventory,
    Resource,
    in_flight_until,
    plan,
    unseen_launches,
)
from lambdas.core.ladder import client_token
from lambdas.core.records import BOOT, TRAINING, Attempt
from lambdas.core.verdict import ending, outcome
from tests.properties.documents import CREATED_AT, OTHER_RUN, RUN_ID, record, report

ENDING_SECONDS = 40
FRESH = {
    "instance_id": "", "seq": 0, "state": "", "phase": "", "progress": "", "phase_at": 0, "progress_at": 0,
    "booted_at": 0, "heartbeat_at": 0, "interruption_at": 0, "error_code": "", "error_message": "",
    "rung": 0, "rung_at": 0,
}  # fmt: skip


@dataclass
class Machine:
    """An instance as EC2 knows it; nobody sees it before `visible_at`."""

    instance_id: str
    run_id: str
    attempt: int
    visible_at: int
    gone_at: int = 0
    seq: int = 0

    def state(self, now: int) -> str:
        if not self.gone_at:
            return "running"
        return "terminated" if now >= self.gone_at else "shutting-down"


@dataclass
class Launch:
    """A LaunchInstance at work: it goes on though its execution was stopped."""

    attempt: int
    token: str
    machine: Machine | None = None


@dataclass
class CloudModel:
    """One run, another run beside it, and everything that can happen to both."""

    max_attempts: int
    now: int = CREATED_AT + 20
    machines: list[Machine] = field(default_factory=list)
    written: list[Document] = field(default_factory=list)
    launches: list[Launch] = field(default_factory=list)
    waiting: str = ""
    stopped: bool = False
    settled: reducer.Settlement | None = None
    verdict: tuple[str, str] | None = None
    cleaning: bool = False
    heard: dict[int, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.record = record(
            {"max_attempts": self.max_attempts}, stage="", task_token="", instance_id="",
            launch_started_at=0, launch_ended_at=0, attempt=1,
        )  # fmt: skip
        self.machines.append(Machine("i-0fffffffffffffff0", OTHER_RUN, 1, self.now))

    def own(self) -> list[Machine]:
        return [m for m in self.machines if m.run_id == RUN_ID]

    def alive(self) -> list[Machine]:
        return [m for m in self.own() if m.state(self.now) != "terminated"]

    def write(self, when: bool, changes: dict[str, Any]) -> bool:
        """Write to the table under a condition, as lambdas/adapters/runs_table.py does."""
        if when:
            self.record = self.record.with_changes(changes)
        return when

    def begin(self, attempt: int) -> None:
        """Begin LaunchInstance: the token first, then an end to the machines of other attempts that EC2 shows."""
        token = f"token-{attempt}-boot"
        reached = self.record.attempt < attempt or (self.record.attempt == attempt and self.record.stage != TRAINING)
        fresh = (
            {}
            if self.record.attempt == attempt and self.record.stage == BOOT
            else {**FRESH, "in_flight_until": in_flight_until(self.record)}
        )
        changes = {
            **fresh,
            "attempt": attempt,
            "stage": BOOT,
            "task_token": token,
            "launch_started_at": self.now,
            "launch_ended_at": 0,
        }
        self.waiting = BOOT
        if self.write(not self.record.closed_at and reached, changes):
            for machine in self.own():
                if machine.attempt != attempt and machine.visible_at <= self.now:
                    self.terminate(machine)
            self.launches.append(Launch(attempt, token))

    def ask(self, launch: Launch, hidden_seconds: int) -> None:
        """Claim the rung and ask EC2, which gives one machine per client token however often it is asked."""
        mine = self.record.attempt == launch.attempt and self.record.task_token == launch.token
        if not self.write(not self.record.closed_at and mine, {"rung": 0, "rung_at": self.now}):
            self.launches.remove(launch)
            return
        given = client_token(RUN_ID, launch.attempt, 0)
        known = [m for m in self.own() if client_token(RUN_ID, m.attempt, 0) == given]
        launch.machine = known[0] if known else self._new(launch.attempt, hidden_seconds)

    def _new(self, attempt: int, hidden_seconds: int) -> Machine:
        machine = Machine(
            f"i-{attempt:017x}", RUN_ID, attempt, self.now + min(hidden_seconds, LAUNCH_IN_FLIGHT_SECONDS - 1)
        )
        self.machines.append(machine)
        return machine

    def hear(self, launch: Launch) -> None:
        """Put EC2's answer on record; after the end of the run, or of the attempt, the machine is ended instead."""
        assert launch.machine is not None
        self.launches.remove(launch)
        entry = Attempt(launch.attempt, launch.machine.instance_id, "g4dn.2xlarge", "on_demand", "a", self.now)
        known = any(a.instance_id == entry.instance_id for a in self.record.attempts)
        changes = {
            "instance_id": entry.instance_id, "launch_ended_at": self.now,
            "attempts": self.record.attempts if known else (*self.record.attempts, entry),
        }  # fmt: skip
        if not self.write(not self.record.closed_at and self.record.attempt == launch.attempt, changes):
            self.terminate(launch.machine)

    def terminate(self, machine: Machine) -> None:
        machine.gone_at = machine.gone_at or self.now + ENDING_SECONDS

    def say(self, machine: Machine, status: str) -> None:
        """Let a machine write system-state.json."""
        machine.seq += 1
        error = {"code": "TrainingFailed", "message": "why"} if status == "failed" else None
        self.written.append(
            report(machine.seq, status, attempt=machine.attempt, instance_id=machine.instance_id, error=error)
        )

    def deliver(self, state: Document) -> None:
        """Deliver a report, whichever and however late, and settle the waiting state."""
        if reducer.refusal(self.record, state) is None:
            newer = self.record.attempt == state["attempt"] and self.record.seq < state["seq"]
            assert self.write(newer, reducer.advance(self.record, state, self.now))
            self.heard.setdefault(state["attempt"], set()).add(state["instance_id"])
        told = reducer.settlement(self.record, self.now)
        if told and told.kind != "heartbeat" and self.record.task_token and not self.record.closed_at:
            self.settle(told)

    def settle(self, told: reducer.Settlement) -> None:
        """Settle the waiting state; a token that is settled or stopped changes nothing."""
        if self.stopped or self.waiting != self.record.stage or not self.waiting:
            return
        if told.kind == "success" and self.waiting == BOOT:
            self.waiting = TRAINING
            changes = {"stage": TRAINING, "task_token": f"token-{self.record.attempt}-training",
                       "launch_ended_at": self.record.launch_ended_at or self.now}  # fmt: skip
            self.write(not self.record.closed_at, changes)
        else:
            self.waiting, self.settled = "collect", told

    def collect(self, error: Document | None) -> None:
        """Judge as CollectOutcome does: the newest report of all first."""
        for state in self.written[-1:]:
            if reducer.refusal(self.record, state) is None:
                self.deliver(state)
        states = {m.instance_id: m.state(self.now) for m in self.own() if m.visible_at <= self.now}
        end = ending(self.record, error, self.now, states.get(self.record.instance_id, ""))
        told = outcome(self.record, end, self.now)
        if told["next"] == "retry":
            self.begin(told["next_attempt"])
        else:
            self.waiting, self.cleaning = "", True
            self.verdict = (told["status"], told["reason_code"] or "")

    def inventory(self) -> Inventory:
        """Return what EC2 shows of the run, and what the record makes one expect beside it."""
        shown = [m for m in self.own() if m.visible_at <= self.now]
        alive = tuple(
            Resource("instances", m.instance_id, s) for m in shown if (s := m.state(self.now)) != "terminated"
        )
        return Inventory(alive, unseen_launches(self.record, {m.instance_id for m in shown}, self.now))

    def clean(self) -> bool:
        """Make one round of cleanup; returns whether nothing is left."""
        self.write(not self.record.closed_at, {"closed_at": self.now, "task_token": ""})
        found = self.inventory()
        for resource in plan(found):
            (machine,) = [m for m in self.machines if m.instance_id == resource.resource_id]
            assert machine.run_id == RUN_ID
            self.terminate(machine)
        return found.empty

    def finish(self, status: str, code: str) -> None:
        self.write(not self.record.ended_at, {"ended_at": self.now, "status": status, "reason_code": code})


LONGEST_SECONDS = VISIBILITY_SECONDS + LAUNCH_IN_FLIGHT_SECONDS
