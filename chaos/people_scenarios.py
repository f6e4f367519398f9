"""What people do in the middle of a run, on an arena. Runs in a worker."""

import contextlib
import time
from typing import Any

from botocore.exceptions import ClientError

from chaos.arena import REQUEST, Arena, TooLong, wait
from chaos.begun import Begun
from chaos.cases import SUCCEEDED, Case
from chaos.starts import RUN_SECONDS
from chaos.verdicts import EMPTY_WITHIN_SECONDS

REDRIVE_SECONDS = 40.0


def people(arena: Arena, case: Case) -> Begun:
    """Begin a case of kind `people`."""
    if case.fault["do"] == "twice":
        name = f"twice-{time.time_ns()}"
        arn, again = arena.start(REQUEST, name), arena.start(REQUEST, name)
        return Begun(arn, lambda: arn == again)
    arena.faults.set_capacity(case.fault.get("set", {}))
    arena.aws.set(*case.fault.get("rules", ()))
    arn = arena.start({**REQUEST, **case.fault.get("request", {})})
    entered = wait(lambda: _entered(arena, arn, case.fault["state"]), case.fault["state"], RUN_SECONDS)
    arena.aws.set()
    with contextlib.suppress(ClientError):  # over before it could be stopped: the verdict is then the run's own
        arena.client("stepfunctions").stop_execution(executionArn=arn)
    if case.fault["do"] == "redrive":
        _redrive(arena, arn, case.fault["swept"])
    return Begun(arn, lambda: bool(entered))


def _redrive(arena: Arena, arn: str, swept: bool) -> None:
    """Redrive an execution that was stopped, once its run has its verdict or before; a success is not redriven."""
    states = arena.client("stepfunctions")
    if swept:
        wait(lambda: arena.recorded(arn), "the verdict", EMPTY_WITHIN_SECONDS)
    if arena.execution(arn)["status"] == SUCCEEDED:
        return
    states.redrive_execution(executionArn=arn)
    wait(lambda: "ExecutionRedriven" in (e["type"] for e in _history(arena, arn)), "the redrive", REDRIVE_SECONDS)


def _entered(arena: Arena, arn: str, state: str) -> bool:
    ended = arena.execution(arn)["status"] != "RUNNING"
    entered = any(event.get("stateEnteredEventDetails", {}).get("name") == state for event in _history(arena, arn))
    if ended and not entered:
        raise TooLong(f"expected the run to enter {state}, found it ended without")
    return entered


def _history(arena: Arena, arn: str) -> list[dict[str, Any]]:
    states = arena.client("stepfunctions")
    return list(states.get_execution_history(executionArn=arn, maxResults=1000)["events"])
