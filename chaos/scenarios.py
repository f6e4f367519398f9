"""How each kind of case is brought about on an arena, and what is seen of it. Runs in a worker."""

import contextlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from chaos.arena import LONG, REQUEST, Arena, TooLong, wait
from chaos.cases import Case
from chaos.inventory import leftovers
from chaos.verdicts import EMPTY_WITHIN_SECONDS, Outcome
from lambdas.core.records import RunRecord
from local.faults import FaultRefused

RUN_SECONDS = 400.0
Begun = tuple[str, Callable[[], bool]]


def play(arena: Arena, case: Case) -> Outcome:
    """Bring a case about in a run of its own and return what was seen."""
    arena.calm()
    outcome, arn = Outcome(), ""
    try:
        arn, fired = _BEGIN[case.kind](arena, case)
        _await_end(arena, arn, outcome)
        outcome.fired = fired()
        _await_empty(arena, arn, outcome)
    except (TooLong, FaultRefused, ClientError) as error:
        outcome.problem = str(error)[:300]
    finally:
        arena.calm()
        if arn:
            _abandon(arena, arn)
    return outcome


def _await_end(arena: Arena, arn: str, outcome: Outcome) -> None:
    wait(lambda: arena.execution(arn)["status"] != "RUNNING", "the execution to end", RUN_SECONDS)
    ended = arena.execution(arn)
    outcome.status, outcome.reason = ended["status"], ended.get("error", "")
    outcome.cause = ended.get("cause", "")
    if ended["status"] == "ABORTED":
        wait(lambda: (record := arena.record(arn)) and record.ended_at, "the verdict", EMPTY_WITHIN_SECONDS)
        outcome.reason = (record.reason_code if (record := arena.record(arn)) else "") or ""


def _await_empty(arena: Arena, arn: str, outcome: Outcome) -> None:
    record, begun = arena.record(arn), time.monotonic()
    if record is None:
        outcome.empty_seconds = 0.0
        return
    before = arena.objects(record.prefix)
    with contextlib.suppress(TooLong):
        wait(lambda: not leftovers(arena, record.run_id, schedules=False), "nothing billable", EMPTY_WITHIN_SECONDS)
        outcome.empty_seconds = round(time.monotonic() - begun, 1)
    # With the fault gone, the dead-man schedule has to finish what is left, itself included.
    arena.calm()
    if left := leftovers(arena, record.run_id):
        arena.bring_forward(record.run_id)
        with contextlib.suppress(TooLong):
            wait(lambda: not leftovers(arena, record.run_id), ", ".join(left), EMPTY_WITHIN_SECONDS)
    outcome.leftovers = leftovers(arena, record.run_id)
    outcome.lost = sorted(before - arena.objects(record.prefix))


def _abandon(arena: Arena, arn: str) -> None:
    """End what a failed case left, so that it does not meet the next one."""
    with contextlib.suppress(ClientError):
        arena.client("stepfunctions").stop_execution(executionArn=arn)
    if record := arena.record(arn):
        for left in leftovers(arena, record.run_id, schedules=False):
            if left.startswith("instance"):
                with contextlib.suppress(FaultRefused):
                    arena.faults.kill(left.split()[1])


def _call(arena: Arena, case: Case) -> Begun:
    caller, rule = case.fault["caller"], dict(case.fault["rule"])
    proxy = arena.machine if caller == "instance" else arena.aws
    if caller != "instance":
        rule["headers"] = {"User-Agent": f"app/{caller.partition(':')[2]}"}
    proxy.set(rule)
    arn = arena.start(REQUEST)
    return arn, lambda: bool(proxy.fired())


def _task(arena: Arena, case: Case) -> Begun:
    arena.faults.set_tasks({case.fault["state"]: case.fault["fault"]})
    return arena.start(REQUEST), lambda: True


def _events(arena: Arena, case: Case) -> Begun:
    arena.faults.set_events(case.fault)
    return arena.start(REQUEST), lambda: True


def _capacity(arena: Arena, case: Case) -> Begun:
    arena.faults.set_capacity(case.fault["set"])
    return arena.start({**REQUEST, **case.fault.get("request", {})}), lambda: True


def _people(arena: Arena, case: Case) -> Begun:
    if case.fault["do"] == "twice":
        name = f"twice-{time.time_ns()}"
        arn, again = arena.start(REQUEST, name), arena.start(REQUEST, name)
        return arn, lambda: arn == again
    arn = arena.start(REQUEST)
    entered = wait(lambda: _entered(arena, arn, case.fault["state"]), case.fault["state"], RUN_SECONDS)
    with contextlib.suppress(ClientError):  # over before it could be stopped: the verdict is then the run's own
        arena.client("stepfunctions").stop_execution(executionArn=arn)
    return arn, lambda: bool(entered)


def _entered(arena: Arena, arn: str, state: str) -> bool:
    pages = arena.client("stepfunctions").get_execution_history(executionArn=arn, maxResults=1000)
    return any(event.get("stateEnteredEventDetails", {}).get("name") == state for event in pages["events"])


def _machine(arena: Arena, case: Case) -> Begun:
    fault = case.fault
    act: Callable[[Arena, RunRecord], None] = _ACTS[fault["do"]]
    market: dict[str, Any] = {"market": "spot"} if fault["do"] == "interrupted" else {}
    stalls = {"no_progress_timeout_seconds": 10} if fault["do"] == "stalled" else {}
    small = {"dataset": "corrupt"} if fault["do"] == "corrupt" else {}
    if small:
        text = "unique_id,ds,y\n" + "".join(f"a,2020-01-{day:02d},1\n" for day in range(1, 29)) + "a,not a day,2\n"
        key = "datasets/corrupt/data.csv"
        arena.client("s3").put_object(Bucket=arena.bucket, Key=key, Body=(text + "b,2020-01-01,x\n").encode())
    # What meets the machine while it boots needs no long training after it.
    request = REQUEST if fault.get("phase") == "boot" else LONG
    arn = arena.start({**request, **market, **stalls, **small})
    attempts = 2 if fault.get("every") else 1
    for attempt in range(1, attempts + 1):
        if fault["do"] == "corrupt":
            break
        record = wait(
            partial(_at, arena, arn, fault.get("phase", "training"), attempt), f"attempt {attempt}", RUN_SECONDS
        )
        if fault["do"] == "cut off":
            _cut_off(arena, float(fault["seconds"]))
        else:
            act(arena, record)
    return arn, lambda: True


def _at(arena: Arena, arn: str, phase: str, attempt: int) -> RunRecord | None:
    record = arena.record(arn)
    if record is None or not record.instance_id or len(record.attempts) < attempt:
        return None
    if phase == "boot":
        return record
    report = arena.report(record)
    step = (report.get("progress") or {}).get("step", 0)
    there = report.get("instance_id") == record.instance_id and report.get("phase") == "training" and step >= 1
    return record if there else None


def _cut_off(arena: Arena, seconds: float) -> None:
    arena.machine.set({"service": "*", "reset": True})
    time.sleep(seconds)
    arena.machine.set()


def _stop(arena: Arena, record: RunRecord) -> None:
    arena.client("ec2").stop_instances(InstanceIds=[record.instance_id])


def _interrupt(arena: Arena, record: RunRecord) -> None:
    arena.faults.interrupt(record.instance_id, 6)


def _net(arena: Arena, case: Case) -> Begun:
    """Disable three nets of a run whose machine hangs, and let the fourth find it."""
    net = case.fault["net"]
    catches: dict[str, Any] = {"heartbeat_timeout_seconds": 12, "max_attempts": 1}
    waits: dict[str, Any] = {
        "heartbeat_timeout_seconds": 3600,
        "max_attempts": 1,
        "n_windows": 90,
        "max_runtime_minutes": 1,
    }
    arn = arena.start({**LONG, **(catches if net == "catch" else waits)})
    record = wait(lambda: _at(arena, arn, "training", 1), "training", RUN_SECONDS)
    arena.faults.hang(record.instance_id)
    kept = ("ExecutionEnded",) if net == "rule" else ()
    for name in arena.rules():
        if not any(part in name for part in kept):
            arena.client("events").disable_rule(Name=name)
    if net != "dead man":
        _disarm(arena, record.run_id)
    _NETS[net](arena, arn, record)
    return arn, lambda: True


def _disarm(arena: Arena, run_id: str) -> None:
    scheduler = arena.client("scheduler")
    for listed in scheduler.list_schedules()["Schedules"]:
        if listed["Name"].startswith(run_id):
            scheduler.delete_schedule(Name=listed["Name"], GroupName=listed["GroupName"])


def _abort(arena: Arena, arn: str, _: RunRecord) -> None:
    arena.client("stepfunctions").stop_execution(executionArn=arn)


def _machine_alone(arena: Arena, arn: str, record: RunRecord) -> None:
    wait(lambda: not leftovers(arena, record.run_id, schedules=False), "the machine to end itself", RUN_SECONDS)
    if arena.execution(arn)["status"] != "RUNNING":
        raise TooLong("expected the workflow still waiting when the machine ended itself, found it ended")
    # It was the machine: now the workflow may hear of it.
    arena.calm()
    _abort(arena, arn, record)


_ACTS: dict[str, Any] = {
    "killed": lambda arena, record: arena.faults.kill(record.instance_id),
    "hung": lambda arena, record: arena.faults.hang(record.instance_id),
    "stalled": lambda arena, record: arena.faults.stall(record.instance_id),
    "stopped": _stop,
    "interrupted": _interrupt,
    "cut off": None,
    "corrupt": None,
}
_NETS: dict[str, Callable[[Arena, str, RunRecord], None]] = {
    "catch": lambda *_: None,
    "rule": _abort,
    "dead man": lambda arena, _, record: arena.bring_forward(record.run_id),
    "machine": _machine_alone,
}
_BEGIN: dict[str, Callable[[Arena, Case], Begun]] = {
    "aws": _call,
    "task": _task,
    "events": _events,
    "capacity": _capacity,
    "people": _people,
    "machine": _machine,
    "net": _net,
}
