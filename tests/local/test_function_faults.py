"""Functions whose process ends or pauses at a certain call, and states that hear of a call before it is made."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from local.cloud import LocalCloud
from local.faults import Faults
from tests.local.bench import Bench
from tests.waiting import until

pytestmark = pytest.mark.emulator
# Puts one item a call; `times` calls.
PUTS = """
import boto3
def handler(event, context):
    table = boto3.client("dynamodb")
    for number in range(event["times"]):
        table.put_item(TableName="tokens", Item={"id": {"S": f"{event['id']}-{event.get('retry', 0)}-{number}"}})
    return "done"
"""
# Ends itself after its first call, as one that is out of memory does.
ENDS = PUTS.replace('return "done"', "__import__('os')._exit(137)")


@pytest.fixture
def befall(cloud: LocalCloud) -> Iterator[Faults]:
    faults = Faults(cloud.folder.path)
    yield faults
    faults.set_functions({})
    faults.set_tasks({})


def state(function: str, *retry: str) -> dict[str, Any]:
    payload = {"id.$": "$.id", "times": 3, "retry.$": "$$.State.RetryCount"}
    retries = [{"ErrorEquals": [name], "IntervalSeconds": 1, "MaxAttempts": 2, "BackoffRate": 1} for name in retry]
    return {
        "Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True, "Retry": retries,
        "Parameters": {"FunctionName": function, "Payload": payload},
    }  # fmt: skip


def calls(bench: Bench, execution: str) -> set[str]:
    """Return the calls that the functions of an execution made: `<retry>-<number>`."""
    stem = json.loads(bench.describe(execution)["input"])["id"]
    found = bench.client("dynamodb").scan(TableName="tokens")["Items"]
    return {item["id"]["S"].removeprefix(stem + "-") for item in found if item["id"]["S"].startswith(stem)}


@pytest.mark.parametrize(
    ("fault", "name", "made"),
    [
        ({"after": 2}, "Runtime.ExitError", {"0-0", "0-1"}),
        ({"after": 0}, "Runtime.ExitError", set()),
        ({"after": 2, "call": "dynamodb:PutItem"}, "Runtime.ExitError", {"0-0", "0-1"}),
        ({"after": 3, "as": "Lambda.Unknown"}, "Lambda.Unknown", {"0-0", "0-1", "0-2"}),
    ],
)
def test_a_process_ends_after_its_call_and_step_functions_hears_the_name(
    bench: Bench, befall: Faults, fault: dict[str, Any], name: str, made: set[str]
) -> None:
    function = bench.function(PUTS)
    befall.set_functions({function: fault})

    execution = bench.start(bench.machine({"Put": state(function)}))

    assert bench.finish(execution)["error"] == name
    assert calls(bench, execution) == made
    assert befall.met() == {function}


def test_only_so_many_invocations_end_and_the_calls_of_each_are_counted_anew(bench: Bench, befall: Faults) -> None:
    function = bench.function(PUTS)
    befall.set_functions({function: {"after": 2, "times": 1}})

    execution = bench.start(bench.machine({"Put": state(function, "Runtime.ExitError")}))

    assert bench.finish(execution)["status"] == "SUCCEEDED"
    assert calls(bench, execution) == {"0-0", "0-1", "1-0", "1-1", "1-2"}


def test_an_invocation_that_never_makes_the_call_does_not_use_the_fault_up(bench: Bench, befall: Faults) -> None:
    function = bench.function(PUTS)
    befall.set_functions({function: {"after": 2, "times": 1}})
    payload = json.dumps({"id": "few", "times": 1}).encode()
    bench.client("lambda").invoke(FunctionName=function, Payload=payload)
    assert befall.met() == set()

    execution = bench.start(bench.machine({"Put": state(function)}))

    assert bench.finish(execution)["error"] == "Runtime.ExitError"


def test_a_paused_process_goes_on(bench: Bench, befall: Faults) -> None:
    function = bench.function(PUTS)
    befall.set_functions({function: {"after": 1, "pause": 2, "times": 1}})

    execution = bench.start(bench.machine({"Put": state(function)}))

    until(lambda: calls(bench, execution) == {"0-0"})
    time.sleep(0.5)
    assert calls(bench, execution) == {"0-0"}
    assert bench.finish(execution)["status"] == "SUCCEEDED"
    assert calls(bench, execution) == {"0-0", "0-1", "0-2"}
    assert befall.met() == {function}


def test_the_calls_of_each_invocation_are_noted(bench: Bench, befall: Faults) -> None:
    function = bench.function(PUTS)
    befall.set_functions({"*": {"log": True}})

    for times in (1, 3):
        payload = json.dumps({"id": "noted", "times": times}).encode()
        bench.client("lambda").invoke(FunctionName=function, Payload=payload)

    assert befall.invocations()[function] == [["dynamodb:PutItem"], ["dynamodb:PutItem"] * 3]


def test_a_process_that_ends_by_itself_is_an_exit_error(bench: Bench) -> None:
    execution = bench.start(bench.machine({"Put": state(bench.function(ENDS))}))

    ended = bench.finish(execution)

    assert ended["error"] == "Runtime.ExitError"
    assert "Runtime exited" in json.loads(ended["cause"])["errorMessage"]


def test_a_late_call_is_made_after_its_retry(bench: Bench, befall: Faults) -> None:
    function = bench.function(PUTS)
    befall.set_tasks({"Put": {"error": "Lambda.SdkClientException", "times": 1, "late": 2}})

    execution = bench.start(bench.machine({"Put": state(function, "States.TaskFailed")}))

    assert bench.finish(execution)["status"] == "SUCCEEDED"
    assert calls(bench, execution) == {"1-0", "1-1", "1-2"}
    assert befall.met() == set()
    until(lambda: calls(bench, execution) == {f"{retry}-{number}" for retry in (0, 1) for number in range(3)})
    assert befall.met() == {"Put"}


def test_ministack_still_calls_an_ended_process_a_handler_s_error(plain: Bench) -> None:
    execution = plain.start(plain.machine({"Put": state(plain.function(ENDS))}))
    assert plain.finish(execution)["error"] == "Runtime.HandlerError"
