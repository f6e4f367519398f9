"""How each kind of case is brought about on an arena, and what is seen of it. Runs in a worker."""

import contextlib
import time
from collections.abc import Callable

from botocore.exceptions import ClientError

from chaos.arena import LONG, REQUEST, SPOT, Arena, TooLong, wait
from chaos.arming import arm
from chaos.begun import Begun
from chaos.cases import Case
from chaos.inventory import leftovers
from chaos.machine_scenarios import ACTS, at_phase, break_machine, met
from chaos.net_scenarios import net, outage
from chaos.people_scenarios import people
from chaos.starts import RUN_SECONDS, begin
from chaos.verdicts import EMPTY_WITHIN_SECONDS, NOTED, Outcome
from chaos.version_scenarios import keep, restore, versions
from lambdas.core.records import RunRecord
from local.deployment import DeploymentFailed
from local.faults import FaultRefused

# The last events of a run come after its end.
SETTLE_SECONDS = 3.0
# A sweep under way takes that long at most; what is there then is the dead-man schedule's.
SWEEP_SECONDS = 8.0
# An event that fails is tried again after three seconds and after six, and its last failure after those.
PENDING_SECONDS = 90.0
# Looking more often than the end of a run has to be met would take time of the runs beside it.
END_STEP_SECONDS = 0.5
FIRE_SECONDS = 40.0


def play(arena: Arena, case: Case) -> Outcome:
    """Bring a case about in a run of its own and return what was seen."""
    arena.calm()
    arena.forget_month()
    outcome, arn = Outcome(), ""
    kept = keep(arena) if case.kind == "versions" else None
    try:
        begun = _BEGIN[case.kind](arena, case)
        arn, outcome.machine_seconds = begun.arn, begun.machine_seconds
        _see(arena, begun, outcome, rearmed=case.kind == "outage" or "destination" in case.fault)
        outcome.problem = outcome.problem or begun.problem()
    except (TooLong, FaultRefused, ClientError, DeploymentFailed) as error:
        outcome.problem = str(error)[:300]
    finally:
        arena.calm()
        if arn:
            _abandon(arena, arn)
        if kept:
            restore(arena, kept)
        if _destroys(case):
            _renew(arena, whole=bool(outcome.problem))
    return outcome


def _renew(arena: Arena, whole: bool) -> None:
    """Deploy the stack anew; `whole` deletes what a deletion that failed has left of it before."""
    if whole:
        with contextlib.suppress(DeploymentFailed):
            arena.destroy()
    arena.deploy()


def _destroys(case: Case) -> bool:
    return case.fault.get("start") == "destroy" or case.fault.get("net") == "drain"


def _see(arena: Arena, begun: Begun, outcome: Outcome, rearmed: bool) -> None:
    if not begun.arn:
        outcome.status = outcome.reason = NOTED
        outcome.empty_seconds, outcome.fired = 0.0, begun.fired()
        return
    _await_end(arena, begun.arn, outcome)
    record = arena.record(begun.arn)
    before = arena.objects(record.prefix) if record else set()
    _await_empty(arena, record, outcome)
    if outcome.status == "ABORTED":
        _await_verdict(arena, begun.arn, outcome, rearmed)
        # An AcceptRun under way when it was stopped may have registered the run since.
        record = arena.record(begun.arn)
    # The sweep, and the machine's own end, come after the execution's.
    with contextlib.suppress(TooLong):
        wait(begun.fired, "the fault to meet the run", FIRE_SECONDS)
    outcome.fired = begun.fired()
    if record:
        _await_nothing(arena, begun.arn, record.run_id, outcome)
        outcome.lost = sorted(before - arena.objects(record.prefix))


def _await_end(arena: Arena, arn: str, outcome: Outcome) -> None:
    wait(lambda: arena.execution(arn)["status"] != "RUNNING", "the execution to end", RUN_SECONDS, END_STEP_SECONDS)
    ended = arena.execution(arn)
    outcome.status, outcome.reason = ended["status"], ended.get("error", "")
    outcome.cause = ended.get("cause", "")


def _await_verdict(arena: Arena, arn: str, outcome: Outcome, rearmed: bool) -> None:
    """Take the reason of a stopped execution from the record, where the sweep writes it.

    A sweep that fails for good is armed again (`rearmed`) as a schedule, which comes long after.
    """
    if rearmed and (record := arena.record(arn)):
        with contextlib.suppress(TooLong):
            wait(lambda: arena.recorded(arn) or not arena.faults.pending(), "the last events", PENDING_SECONDS)
            wait(lambda: arena.recorded(arn), "the verdict", SETTLE_SECONDS)
        if not arena.recorded(arn):
            arena.bring_forward(record.run_id, arn)
    wait(lambda: arena.recorded(arn), "the verdict", EMPTY_WITHIN_SECONDS)
    # One that was over before it could be stopped has no reason, and its own verdict stands.
    outcome.reason = arena.recorded(arn)


def _await_empty(arena: Arena, record: RunRecord | None, outcome: Outcome) -> None:
    """Measure how long anything billable is there; a run that was never registered has nothing."""
    begun = time.monotonic()
    with contextlib.suppress(TooLong):
        if record:
            wait(lambda: not leftovers(arena, record.run_id, armed=False), "nothing billable", EMPTY_WITHIN_SECONDS)
        outcome.empty_seconds = round(time.monotonic() - begun, 1)


def _await_nothing(arena: Arena, arn: str, run_id: str, outcome: Outcome) -> None:
    """With the fault gone, the dead-man schedule has to finish what no sweep under way does, itself included.

    A sweep arms a schedule while it works, and writes the verdict last: before that, what is there may yet come or go.
    """
    arena.calm()

    def at_rest() -> bool:
        return bool(arena.recorded(arn)) and not leftovers(arena, run_id, arn) and not arena.faults.pending()

    with contextlib.suppress(TooLong):
        wait(lambda: not arena.faults.pending(), "the last events", PENDING_SECONDS)
    try:
        wait(at_rest, "the sweep", SWEEP_SECONDS)
    except TooLong:
        arena.bring_forward(run_id, arn)
        with contextlib.suppress(TooLong):
            wait(at_rest, "the dead-man schedule", EMPTY_WITHIN_SECONDS)
    outcome.recorded = arena.recorded(arn)
    outcome.leftovers = leftovers(arena, run_id, arn)
    if not outcome.recorded:
        outcome.problem = "expected a verdict on record, found none"


def _abandon(arena: Arena, arn: str) -> None:
    """End what a failed case left, so that it does not meet the next one."""
    with contextlib.suppress(ClientError):
        arena.client("stepfunctions").stop_execution(executionArn=arn)
    if record := arena.record(arn):
        for left in leftovers(arena, record.run_id, armed=False):
            if left.startswith("instance"):
                with contextlib.suppress(FaultRefused):
                    arena.faults.kill(left.split()[1])


def _armed(arena: Arena, case: Case) -> Begun:
    (met_it,) = arm(arena, case)
    destination = case.fault.get("destination")
    before = arena.calls_of(destination) if destination else 0
    return begin(arena, case.fault, lambda: met_it() and (not destination or arena.calls_of(destination) > before))


def _events(arena: Arena, case: Case) -> Begun:
    if case.fault.get("after_a_run"):
        before = arena.start(REQUEST)
        wait(lambda: arena.execution(before)["status"] != "RUNNING", "the older run to end", RUN_SECONDS)
        time.sleep(SETTLE_SECONDS)
    (met_it,) = arm(arena, case)
    machine = case.fault.get("machine")
    return Begun(met(arena, machine, "training").arn if machine else arena.start(REQUEST), met_it)


def _capacity(arena: Arena, case: Case) -> Begun:
    (met_it,) = arm(arena, case)
    arn = arena.start({**REQUEST, **case.fault.get("request", {})})
    rung = case.fault.get("rung")
    return Begun(arn, lambda: met_it() and (rung is None or _launched_on(arena, arn) == rung))


def _launched_on(arena: Arena, arn: str) -> str:
    record = arena.record(arn)
    return "; ".join(f"{a.instance_type}/{a.market}/{a.zone}" for a in record.attempts) if record else ""


def _pair(arena: Arena, case: Case) -> Begun:
    """Begin a run with two faults; when the first ends it, the other one may not come to its turn."""
    both = case.fault["pair"]
    met_it = arm(arena, *(one for one in both if one.kind != "machine"))
    broken = next((one for one in both if one.kind == "machine"), None)
    long = broken or any(one.fault.get("long") for one in both)
    arn = arena.start({**LONG, "market": "spot"} if long else SPOT)
    if broken:
        with contextlib.suppress(TooLong):
            phase = broken.fault["phase"]
            record = wait(lambda: at_phase(arena, arn, phase, 1), phase, RUN_SECONDS)
            with contextlib.suppress(FaultRefused, ClientError):  # the other fault has ended the machine
                ACTS[broken.fault["do"]](arena, record)
                met_it.append(lambda: True)
    return Begun(arn, lambda: any(one() for one in met_it))


_BEGIN: dict[str, Callable[[Arena, Case], Begun]] = {
    "aws": _armed,
    "task": _armed,
    "killed": _armed,
    "late": _armed,
    "async": _armed,
    "events": _events,
    "capacity": _capacity,
    "people": people,
    "machine": break_machine,
    "net": net,
    "outage": outage,
    "stack": lambda arena, case: begin(arena, case.fault, lambda: True),
    "versions": versions,
    "pair": _pair,
}
