"""How each kind of case is brought about on an arena, and what is seen of it. Runs in a worker."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from chaos.arena import LONG, REQUEST, SPOT, Arena, TooLong, wait
from chaos.cases import SUCCEEDED, Case
from chaos.inventory import leftovers
from chaos.machine_scenarios import Begun, at_phase, break_machine, met
from chaos.verdicts import EMPTY_WITHIN_SECONDS, Outcome
from lambdas.core.records import RunRecord
from local.deployment import DeploymentFailed
from local.faults import FaultRefused

RUN_SECONDS = 400.0
# The last events of a run come after its end.
SETTLE_SECONDS = 3.0
# A sweep under way takes that long at most; what is there then is the dead-man schedule's.
SWEEP_SECONDS = 8.0
# Looking more often than the end of a run has to be met would take time of the runs beside it.
END_STEP_SECONDS = 0.5
FIRE_SECONDS = 40.0


def play(arena: Arena, case: Case) -> Outcome:
    """Bring a case about in a run of its own and return what was seen."""
    arena.calm()
    arena.forget_month()
    outcome, arn = Outcome(), ""
    try:
        arn, fired = _BEGIN[case.kind](arena, case)
        _await_end(arena, arn, outcome)
        record = arena.record(arn)
        before = arena.objects(record.prefix) if record else set()
        _await_empty(arena, record, outcome)
        if outcome.status == "ABORTED":
            _await_verdict(arena, arn, outcome)
            # An AcceptRun under way when it was stopped may have registered the run since.
            record = arena.record(arn)
        # The sweep, and the machine's own end, come after the execution's.
        with contextlib.suppress(TooLong):
            wait(fired, "the fault to meet the run", FIRE_SECONDS)
        outcome.fired = fired()
        if record:
            _await_nothing(arena, arn, record.run_id, outcome)
            outcome.lost = sorted(before - arena.objects(record.prefix))
    except (TooLong, FaultRefused, ClientError, DeploymentFailed) as error:
        outcome.problem = str(error)[:300]
    finally:
        arena.calm()
        if arn:
            _abandon(arena, arn)
        if case.kind == "stack":
            arena.deploy()
    return outcome


def _await_end(arena: Arena, arn: str, outcome: Outcome) -> None:
    wait(lambda: arena.execution(arn)["status"] != "RUNNING", "the execution to end", RUN_SECONDS, END_STEP_SECONDS)
    ended = arena.execution(arn)
    outcome.status, outcome.reason = ended["status"], ended.get("error", "")
    outcome.cause = ended.get("cause", "")


def _await_verdict(arena: Arena, arn: str, outcome: Outcome) -> None:
    """Take the reason of a stopped execution from the record, where the sweep writes it."""
    wait(lambda: _recorded(arena, arn), "the verdict", EMPTY_WITHIN_SECONDS)
    # One that was over before it could be stopped has no reason, and its own verdict stands.
    outcome.reason = _recorded(arena, arn)


def _recorded(arena: Arena, arn: str) -> str:
    """Return what the record says that a run ended as, "" when it has no verdict."""
    record = arena.record(arn)
    return (record.reason_code or record.status) if record and record.ended_at else ""


def _await_empty(arena: Arena, record: RunRecord | None, outcome: Outcome) -> None:
    """Measure how long anything billable is there; a run that was never registered has nothing."""
    begun = time.monotonic()
    with contextlib.suppress(TooLong):
        if record:
            wait(lambda: not leftovers(arena, record.run_id, schedules=False), "nothing billable", EMPTY_WITHIN_SECONDS)
        outcome.empty_seconds = round(time.monotonic() - begun, 1)


def _await_nothing(arena: Arena, arn: str, run_id: str, outcome: Outcome) -> None:
    """With the fault gone, the dead-man schedule has to finish what no sweep under way does, itself included.

    A sweep arms a schedule while it works, and writes the verdict last: before that, what is there may yet come or go.
    """
    arena.calm()

    def at_rest() -> bool:
        return bool(_recorded(arena, arn)) and not leftovers(arena, run_id)

    try:
        wait(at_rest, "the sweep", SWEEP_SECONDS)
    except TooLong:
        arena.bring_forward(run_id)
        with contextlib.suppress(TooLong):
            wait(at_rest, "the dead-man schedule", EMPTY_WITHIN_SECONDS)
    outcome.recorded = _recorded(arena, arn)
    outcome.leftovers = leftovers(arena, run_id)
    if not outcome.recorded:
        outcome.problem = "expected a verdict on record, found none"


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
    arn = arena.start(SPOT)
    return arn, lambda: bool(proxy.fired())


def _task(arena: Arena, case: Case) -> Begun:
    arena.faults.set_tasks({case.fault["state"]: case.fault["fault"]})
    return arena.start(SPOT), lambda: case.fault["state"] in arena.faults.met()


def _events(arena: Arena, case: Case) -> Begun:
    if case.fault.get("after_a_run"):
        before = arena.start(REQUEST)
        wait(lambda: arena.execution(before)["status"] != "RUNNING", "the older run to end", RUN_SECONDS)
        time.sleep(SETTLE_SECONDS)
    arena.faults.set_events(case.fault["set"])
    machine = case.fault.get("machine")
    arn = met(arena, machine, "training")[0] if machine else arena.start(REQUEST)
    return arn, lambda: set(case.fault["set"]) <= arena.faults.met()


def _capacity(arena: Arena, case: Case) -> Begun:
    arena.faults.set_capacity(case.fault["set"])
    arn = arena.start({**REQUEST, **case.fault.get("request", {})})
    rung = case.fault.get("rung")
    return (
        arn,
        lambda: set(case.fault["set"]) <= arena.faults.met() and (rung is None or _launched_on(arena, arn) == rung),
    )


def _launched_on(arena: Arena, arn: str) -> str:
    record = arena.record(arn)
    return "; ".join(f"{a.instance_type}/{a.market}/{a.zone}" for a in record.attempts) if record else ""


def _stack(arena: Arena, _: Case) -> Begun:
    arn = arena.start(LONG)
    wait(lambda: at_phase(arena, arn, "training", 1), "training", RUN_SECONDS)
    arena.destroy()
    return arn, lambda: True


def _people(arena: Arena, case: Case) -> Begun:
    if case.fault["do"] == "twice":
        name = f"twice-{time.time_ns()}"
        arn, again = arena.start(REQUEST, name), arena.start(REQUEST, name)
        return arn, lambda: arn == again
    arena.faults.set_capacity(case.fault.get("set", {}))
    arena.aws.set(*case.fault.get("rules", ()))
    arn = arena.start({**REQUEST, **case.fault.get("request", {})})
    entered = wait(lambda: _entered(arena, arn, case.fault["state"]), case.fault["state"], RUN_SECONDS)
    arena.aws.set()
    with contextlib.suppress(ClientError):  # over before it could be stopped: the verdict is then the run's own
        arena.client("stepfunctions").stop_execution(executionArn=arn)
    if case.fault["do"] == "redrive":
        _redrive(arena, arn, case.fault["swept"])
    return arn, lambda: bool(entered)


def _redrive(arena: Arena, arn: str, swept: bool) -> None:
    """Redrive an execution that was stopped, once its run has its verdict or before; a success is not redriven."""
    states = arena.client("stepfunctions")
    if swept:
        wait(lambda: _recorded(arena, arn), "the verdict", EMPTY_WITHIN_SECONDS)
    if arena.execution(arn)["status"] == SUCCEEDED:
        return
    states.redrive_execution(executionArn=arn)
    wait(lambda: "ExecutionRedriven" in (e["type"] for e in _history(arena, arn)), "the redrive", FIRE_SECONDS)


def _entered(arena: Arena, arn: str, state: str) -> bool:
    ended = arena.execution(arn)["status"] != "RUNNING"
    entered = any(event.get("stateEnteredEventDetails", {}).get("name") == state for event in _history(arena, arn))
    if ended and not entered:
        raise TooLong(f"expected the run to enter {state}, found it ended without")
    return entered


def _history(arena: Arena, arn: str) -> list[dict[str, Any]]:
    states = arena.client("stepfunctions")
    return list(states.get_execution_history(executionArn=arn, maxResults=1000)["events"])


def _net(arena: Arena, case: Case) -> Begun:
    """Disable three nets of a run whose machine hangs, and let the fourth find it."""
    net = case.fault["net"]
    catches: dict[str, Any] = {"heartbeat_timeout_seconds": 12, "max_attempts": 1}
    waits: dict[str, Any] = {
        "heartbeat_timeout_seconds": 3600,
        "max_attempts": 1,
        # The machine's own timer, two minutes after its boot here, is not to come before training or another net.
        "max_runtime_minutes": 10,
    }
    arn = arena.start({**LONG, **(catches if net == "catch" else waits)})
    record = wait(lambda: at_phase(arena, arn, "training", 1), "training", RUN_SECONDS)
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
    "machine": break_machine,
    "net": _net,
    "stack": _stack,
}
