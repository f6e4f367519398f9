"""Each net alone, with everything else at work or with one service down, on an arena. Runs in a worker."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from chaos.arena import LONG, Arena, TooLong, wait
from chaos.begun import Begun
from chaos.cases import Case
from chaos.inventory import leftovers
from chaos.starts import HUNG, RUN_SECONDS, disarm, finish, in_training, keep_rules
from lambdas.core.records import RunRecord
from local.deployment import DeploymentFailed

HEARTBEAT_SECONDS = 12
CATCHES: dict[str, Any] = {**LONG, "heartbeat_timeout_seconds": HEARTBEAT_SECONDS, "max_attempts": 1}
# A net that has not ended the machine by then, tries of all kinds included, does not end it.
NET_SECONDS = 240.0
# After the machine's end the net goes on to what it asks the service that is down.
ASKS_SECONDS = 60.0
FINISH_SECONDS = 120.0
LOOK_SECONDS = 0.1
ALIVE = ("pending", "running")


def net(arena: Arena, case: Case) -> Begun:
    """Disable three nets of a run whose machine hangs, and let the fourth find it."""
    arn, record = _hung(arena, case.fault["net"])
    _NETS[case.fault["net"]](arena, arn, record)
    return Begun(arn, lambda: True)


def outage(arena: Arena, case: Case) -> Begun:
    """Let one net alone find a hung machine while a service is down for the functions; measures how long it takes."""
    arn, record = _hung(arena, case.fault["net"])
    arena.aws.set(case.fault["rule"])
    which = case.fault["net"]
    seconds = _drained(arena, record) if which == "drain" else _ended(arena, arn, record, which)
    return Begun(arn, lambda: True, machine_seconds=round(seconds, 1))


def _hung(arena: Arena, which: str) -> tuple[str, RunRecord]:
    arn, record = in_training(arena, CATCHES if which == "catch" else HUNG)
    arena.faults.hang(record.instance_id)
    keep_rules(arena, *(("ExecutionEnded",) if which == "rule" else ()))
    if which != "dead man":
        disarm(arena, record.run_id)
    return arn, record


def _ended(arena: Arena, arn: str, record: RunRecord, which: str) -> float:
    """Return the seconds from the net's event to the machine's end; the service comes back once the net has met it."""
    event = _timed_out(arena, arn) if which == "catch" else time.time()
    _NETS[which](arena, arn, record)
    wait(lambda: not _alive(arena, record), "the net to end the machine", NET_SECONDS, LOOK_SECONDS)
    seconds = time.time() - event
    _met(arena)
    if which == "dead man":
        finish(arena, arn, record.run_id, FINISH_SECONDS)
    return seconds


def _timed_out(arena: Arena, arn: str) -> float:
    """Return when the state gave up waiting for the machine."""

    def found() -> Any:
        states = arena.client("stepfunctions")
        events = states.get_execution_history(executionArn=arn, maxResults=1000)["events"]
        return next((event["timestamp"] for event in events if event["type"] == "TaskTimedOut"), None)

    return float(wait(found, "the missed heartbeat", HEARTBEAT_SECONDS * 3, LOOK_SECONDS).timestamp())


def _drained(arena: Arena, record: RunRecord) -> float:
    """Delete the stack while the service is down, and again when it is back if that was refused."""
    with ThreadPoolExecutor(1) as beside:
        deletion = beside.submit(arena.destroy)
        wait(lambda: "DrainStack" in arena.faults.pending(), "the drain to begin", NET_SECONDS, LOOK_SECONDS)
        event = time.time()
        try:
            wait(lambda: not _alive(arena, record), "the drain to end the machine", NET_SECONDS, LOOK_SECONDS)
            seconds = time.time() - event
            _met(arena)
        finally:
            arena.aws.set()
        try:
            deletion.result()
        except DeploymentFailed:
            arena.destroy()
    return seconds


def _met(arena: Arena) -> None:
    """End the outage once the net has asked the service in vain."""
    wait(lambda: arena.aws.counts()[0], "the net to ask the service that is down", ASKS_SECONDS)
    arena.aws.set()


def _alive(arena: Arena, record: RunRecord) -> bool:
    found = arena.client("ec2").describe_instances(InstanceIds=[record.instance_id])["Reservations"]
    return any(i["State"]["Name"] in ALIVE for reservation in found for i in reservation["Instances"])


def _abort(arena: Arena, arn: str, _: RunRecord) -> None:
    arena.client("stepfunctions").stop_execution(executionArn=arn)


def _machine_alone(arena: Arena, arn: str, record: RunRecord) -> None:
    wait(lambda: not leftovers(arena, record.run_id, armed=False), "the machine to end itself", RUN_SECONDS)
    if arena.execution(arn)["status"] != "RUNNING":
        raise TooLong("expected the workflow still waiting when the machine ended itself, found it ended")
    # It was the machine: now the workflow may hear of it.
    arena.calm()
    _abort(arena, arn, record)


_NETS: dict[str, Callable[[Arena, str, RunRecord], None]] = {
    "catch": lambda *_: None,
    "rule": _abort,
    "dead man": lambda arena, _, record: arena.bring_forward(record.run_id),
    "machine": _machine_alone,
}
