"""What a state sees of its retries, and which retrier takes an error, as AWS has it."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from local.retries import pause_seconds
from tests.local.bench import Bench, waiting

pytestmark = pytest.mark.emulator
# Tells what it was called with, as an error until its plan is at its end.
TELLS = """
import json
def handler(event, context):
    name = (event["plan"] + [""] * 9)[event["retry"]]
    if name:
        raise type(name, (Exception,), {})(json.dumps(event))
    return event
"""


def telling(function: str, plan: list[str], retry: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    payload = {"plan": plan, "entered.$": "$$.State.EnteredTime", "retry.$": "$$.State.RetryCount"}
    parameters = {"FunctionName": function, "Payload": payload}
    resource = "arn:aws:states:::lambda:invoke"
    return {"Type": "Task", "Resource": resource, "Parameters": parameters, "Retry": retry, **fields}


def retrier(*names: str, **fields: Any) -> dict[str, Any]:
    return {"ErrorEquals": list(names), "IntervalSeconds": 1, "BackoffRate": 1, "MaxDelaySeconds": 1, **fields}


def told(bench: Bench, execution: str) -> list[dict[str, Any]]:
    """Return what each call was made with, from the errors and results in the history."""
    found = []
    for event in bench.history(execution):
        if failed := event.get("taskFailedEventDetails"):
            found.append(json.loads(json.loads(failed["cause"])["errorMessage"]))
        elif succeeded := event.get("taskSucceededEventDetails"):
            found.append(json.loads(succeeded["output"])["Payload"])
    return found


def tries(bench: Bench, plan: list[str], *retriers: dict[str, Any]) -> int:
    states = {"Tell": telling(bench.function(TELLS), plan, list(retriers), End=True)}
    execution = bench.start(bench.machine(states))
    bench.finish(execution)
    return len(told(bench, execution))


def test_a_state_knows_when_it_was_entered_and_how_often_it_was_tried(bench: Bench) -> None:
    again = telling(bench.function(TELLS), ["No", "No"], [retrier("States.ALL")], ResultPath=None, Next="Look")
    states = {
        "Tell": again,
        "Look": {"Type": "Choice", "Default": "Mark", "Choices": [
            {"Variable": "$.second", "IsPresent": True, "Next": "Done"}]},
        "Mark": {"Type": "Pass", "Result": True, "ResultPath": "$.second", "Next": "Tell"},
        "Done": {"Type": "Succeed"},
    }  # fmt: skip
    before = datetime.now(UTC)
    execution = bench.start(bench.machine(states))
    assert bench.finish(execution)["status"] == "SUCCEEDED"

    calls = told(bench, execution)

    assert [call["retry"] for call in calls] == [0, 1, 2, 0, 1, 2]
    first, second = ({call["entered"] for call in part} for part in (calls[:3], calls[3:]))
    assert len(first) == len(second) == 1
    entered = first.pop()
    assert entered < second.pop()
    moment = datetime.strptime(entered, "%Y-%m-%dT%H:%M:%S.%f%z")
    assert abs((moment - before).total_seconds()) < 5


@pytest.mark.parametrize(
    ("plan", "retriers", "expected"),
    [
        # A retrier that allows none decides, although a later one would match.
        (["Own"], [retrier("Own", MaxAttempts=0), retrier("States.TaskFailed")], 1),
        (["Runtime.ExitError"], [retrier("Own", MaxAttempts=0), retrier("States.TaskFailed")], 2),
        (["Other"], [retrier("Own")], 1),
        (["Other"], [retrier("States.ALL")], 2),
        # Each retrier counts for itself.
        (["Own", "Other", "Other", "Own"], [retrier("Own", MaxAttempts=1), retrier("States.ALL", MaxAttempts=2)], 4),
        (["Other"] * 9, [retrier("Own", MaxAttempts=5), retrier("States.ALL", MaxAttempts=2)], 3),
    ],
)
def test_the_first_retrier_that_matches_decides(
    bench: Bench, plan: list[str], retriers: list[dict[str, Any]], expected: int
) -> None:
    assert tries(bench, plan, *retriers) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["States.TaskFailed"], 1), (["States.ALL"], 2), (["States.TaskFailed", "States.Timeout"], 2)],
)
def test_task_failed_is_every_error_but_a_timeout(bench: Bench, names: list[str], expected: int) -> None:
    state = waiting(TimeoutSeconds=1, Retry=[retrier(*names, MaxAttempts=1)])
    execution = bench.start(bench.machine({"Wait": state}))
    assert bench.finish(execution)["error"] == "States.Timeout"
    assert bench.kinds(execution).count("TaskScheduled") == expected


def long_interval(bench: Bench) -> str:
    state = waiting(TimeoutSeconds=1, Retry=[retrier("States.ALL", MaxAttempts=1, IntervalSeconds=60)])
    return bench.start(bench.machine({"Wait": state}))


def test_no_pause_is_longer_than_its_limit(bench: Bench) -> None:
    begun = time.monotonic()
    bench.finish(long_interval(bench))
    assert time.monotonic() - begun < 6


@pytest.mark.parametrize(
    ("fields", "retries", "expected"),
    [
        ({}, 0, 1),
        ({}, 2, 4),
        ({"IntervalSeconds": 2, "BackoffRate": 1.5}, 1, 3),
        ({"IntervalSeconds": 2, "BackoffRate": 3, "MaxDelaySeconds": 5}, 1, 5),
        ({"IntervalSeconds": 2, "BackoffRate": 3, "JitterStrategy": "NONE"}, 1, 6),
        ({"IntervalSeconds": 2, "BackoffRate": 3, "MaxDelaySeconds": 5, "JitterStrategy": "FULL"}, 1, 2.5),
    ],
)
def test_the_pause_grows_up_to_its_limit_and_jitter_takes_a_part_of_it(
    fields: dict[str, Any], retries: int, expected: float
) -> None:
    assert pause_seconds(fields, retries, lambda low, high: (low + high) / 2) == expected


def test_ministack_still_knows_no_longest_pause(plain: Bench) -> None:
    execution = long_interval(plain)
    time.sleep(6)
    assert plain.describe(execution)["status"] == "RUNNING"
    plain.client("stepfunctions").stop_execution(executionArn=execution)
