"""Every error that a task can end with, in every task: the run ends bounded, cleaned up, for a reason. Under pytest."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from contracts.reasons import FINAL_CODES, REASONS
from tests.statemachine import functions, plays
from tests.statemachine.functions import Ask, ErrorNamed
from tests.statemachine.interpreter import StatesError
from tests.statemachine.plays import Player
from tests.statemachine.stage import STATES

# What AWS recommends to retry, and other ends of an invocation that say nothing of the run:
# https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html
TRANSIENT = (
    "Lambda.ClientExecutionTimeoutException", "Lambda.ServiceException", "Lambda.AWSLambdaException",
    "Lambda.SdkClientException", "Lambda.TooManyRequestsException", "Lambda.Unknown", "Runtime.ExitError",
    "Sandbox.Timedout", "AwsUnavailable", "MemoryError",
)  # fmt: skip
OF_STATES = ("States.HeartbeatTimeout", "States.TaskFailed", "States.Permissions", "States.DataLimitExceeded")
MOST_TRIES = 11
ALL = (*TRANSIENT, *OF_STATES, "States.Timeout", "PermissionMissing")
# The names decide what Retry and Catch do, which needs no work; these are the ends that a finished function meets.
AFTER_THE_WORK = ("Runtime.ExitError", "States.Timeout", "States.DataLimitExceeded")
ASKED_ONCE = ("AcceptRun", "LaunchInstance", "AwaitTraining")


def _error(name: str) -> Exception:
    if name == "States.Timeout":
        return TimeoutError(name)
    return StatesError(name) if name in OF_STATES else ErrorNamed(name)


def _ends(state: str, name: str, tries: int, after: bool) -> tuple[Callable[[str, Any, Ask], Any], Counter[str]]:
    """Return a script under which the first `tries` invocations of a state end with an error, and what it counts."""
    called: Counter[str] = Counter()

    def script(function: str, _event: Any, go: Ask) -> Any:
        called[function] += 1
        if function != state or called[function] > tries:
            return go()
        if after:
            go()
        raise _error(name)

    return script, called


@pytest.mark.parametrize("state", STATES)
def test_a_transient_error_after_the_work_was_done_changes_nothing(player: Player, state: str) -> None:
    wrong = []
    for name in TRANSIENT:
        player.stage.functions.script, _ = _ends(state, name, tries=1, after=True)
        arn = player.play(plays.COMPLETE)
        wrong += [f"{name}: {found}" for found in player.wrong(plays.COMPLETE, arn)]
        player.forget()

    assert wrong == []


@pytest.mark.parametrize("after", [False, True], ids=["before the work", "after the work"])
@pytest.mark.parametrize("state", STATES)
def test_an_error_that_stays_ends_the_run_with_a_reason_and_leaves_nothing(
    player: Player, state: str, after: bool
) -> None:
    wrong = []
    for name in AFTER_THE_WORK if after else ALL:
        player.stage.functions.script, called = _ends(state, name, tries=1000, after=after)
        arn = player.play(plays.COMPLETE, heartbeat_timeout_seconds=6, max_attempts=2)
        wrong += [f"{name}: {found}" for found in _wrong(player, arn, called)]
        player.stage.functions.script, _ = _ends("none", name, tries=0, after=False)
        player.forget()

    assert wrong == []


@pytest.mark.parametrize("state", ASKED_ONCE)
def test_a_reason_code_of_our_own_is_not_repeated(player: Player, state: str) -> None:
    wrong = []
    for code in FINAL_CODES:
        player.stage.functions.script, called = _ends(state, code, tries=1000, after=False)
        arn = player.play(plays.COMPLETE)
        tries = called[state]
        wrong += [f"{code}: {found}" for found in _wrong(player, arn, called)]
        wrong += [f"{code}: {state} was called {tries} times"] * (tries != 1)
        player.forget()

    assert wrong == []


def _wrong(player: Player, arn: str, called: Counter[str]) -> list[str]:
    """Return what is not as it must be after a run that an error has ended, or has not."""
    said = player.stage.ended(arn)
    entered, record = player.stage.entered(arn), player.stage.record(arn)
    must = {
        "status": (said["status"] in ("SUCCEEDED", "FAILED"), True),
        "error": (said.get("error") if said["status"] == "FAILED" and said.get("error") not in REASONS else "", ""),
        "Cleanup": ("Cleanup" in entered, True),
        "attempts": (entered.count("LaunchInstance") <= 2, True),
        "tries": ([name for name, tries in called.items() if tries > MOST_TRIES * max(1, entered.count(name))], []),
        "instances": ([i for i in player.stage.left_behind() if i.startswith("i-")], []),
    }
    if record:
        must["verdict"] = bool(record.ended_at), True
        # What a net could not disarm fires, finds nothing, and is gone.
        player.fire_armed()
    must["left"] = (player.stage.left_behind(), [])
    return [f"{what}: expected {right!r}, found {found!r}" for what, (found, right) in must.items() if found != right]


@pytest.mark.parametrize("fault", [functions.refused, functions.throttled])
def test_a_second_launch_that_cannot_begin_ends_the_run_with_its_reason(player: Player, fault: functions.Fault) -> None:
    arn = player.begin(plays.COMPLETE, {**plays.REQUEST, "market": "spot", "max_attempts": 2})
    record = player.waiting(arn, "boot")
    assert record is not None
    player.stage.report(record, 1, "booting", phase="boot")
    record = player.waiting(arn, "training")
    assert record is not None
    player.stage.functions.disturb(
        fault, lambda function, _, operation: (function, operation) == ("LaunchInstance", "UpdateItem"), once=False
    )
    player.stage.report(record, 5, "interrupted", error={"code": "SpotInterrupted", "message": "AWS takes it"})
    player.end(arn)

    assert player.stage.functions.met
    assert player.stage.entered(arn).count("LaunchInstance") == 2
    said = player.stage.ended(arn)
    assert (said["status"], said["error"]) in (("FAILED", "PermissionMissing"), ("FAILED", "AwsUnavailable"))
    assert player.stage.left_behind() == []
