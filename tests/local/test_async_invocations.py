"""Asynchronous invocations: two more tries, then the destination, with the document that AWS documents."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.cloud import LocalCloud
from local.faults import Faults
from tests.local.bench import ROLE, Bench
from tests.waiting import until

pytestmark = pytest.mark.emulator
# A minute of Lambda's and Step Functions' waits takes 0.6 seconds.
SCALE = 0.01
# Keeps what it was called with, in order, and fails as often as told.
KEEPS = """
import boto3, json, time
class NotYet(Exception): pass
def handler(event, context):
    table, key = boto3.client("dynamodb"), {"id": {"S": context.function_name}}
    item = table.get_item(TableName="tokens", Key=key).get("Item", {})
    seen = json.loads(item.get("seen", {}).get("S", "[]"))
    seen.append([time.time(), event])
    table.put_item(TableName="tokens", Item={**key, "seen": {"S": json.dumps(seen)}})
    if len(seen) <= FAILS:
        raise NotYet("tried too early")
"""

# Answers CloudFormation, after a call of AWS.
ANSWERS = """
import boto3, json, urllib.request
def handler(event, context):
    boto3.client("dynamodb").list_tables()
    answer = {"Status": "SUCCESS", "PhysicalResourceId": "it", "StackId": event["StackId"],
              "RequestId": event["RequestId"], "LogicalResourceId": event["LogicalResourceId"]}
    urllib.request.urlopen(urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT"))
"""


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bench, Faults]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFN_WAIT_SCALE", str(SCALE))
        cloud = LocalCloud(tmp_path_factory.mktemp("quick"))
        cloud.start()
    yield Bench(cloud.credentials()), Faults(cloud.folder.path)
    cloud.stop()


def keeper(bench: Bench, fails: int = 0) -> str:
    return bench.function(KEEPS.replace("FAILS", str(fails)))


def arn_of(bench: Bench, function: str) -> str:
    return bench.client("lambda").get_function(FunctionName=function)["Configuration"]["FunctionArn"]


def seen(bench: Bench, function: str) -> list[tuple[float, Any]]:
    item = bench.client("dynamodb").get_item(TableName="tokens", Key={"id": {"S": function}}).get("Item", {})
    return [(at, event) for at, event in json.loads(item.get("seen", {}).get("S", "[]"))]


def at_rest(faults: Faults, bench: Bench, function: str) -> list[tuple[float, Any]]:
    until(lambda: seen(bench, function))
    until(lambda: not faults.pending())
    return seen(bench, function)


def by_rule(bench: Bench, function: str) -> None:
    source, events = f"test.{uuid.uuid4().hex}", bench.client("events")
    events.put_rule(Name=source, EventPattern=json.dumps({"source": [source]}))
    events.put_targets(Rule=source, Targets=[{"Id": "1", "Arn": arn_of(bench, function)}])
    events.put_events(Entries=[{"Source": source, "DetailType": "Test", "Detail": '{"what": "this"}'}])


def by_schedule(bench: Bench, function: str) -> None:
    target = {"Arn": arn_of(bench, function), "RoleArn": ROLE, "Input": '{"what": "this"}'}
    soon = datetime.now(UTC) + timedelta(seconds=1)
    bench.client("scheduler").create_schedule(
        Name=f"s-{uuid.uuid4().hex}", ScheduleExpression=f"at({soon:%Y-%m-%dT%H:%M:%S})", Target=target,
        FlexibleTimeWindow={"Mode": "OFF"}, ActionAfterCompletion="DELETE",
    )  # fmt: skip


def by_invoke(bench: Bench, function: str) -> None:
    bench.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=b'{"what": "this"}')


@pytest.mark.parametrize("send", [by_rule, by_schedule, by_invoke])
def test_an_error_is_tried_again_after_one_and_after_two_minutes(
    quick: tuple[Bench, Faults], send: Callable[[Bench, str], None]
) -> None:
    bench, faults = quick
    function = keeper(bench, fails=2)

    send(bench, function)

    until(lambda: function in faults.pending())
    times = [at for at, _ in at_rest(faults, bench, function)]
    assert len(times) == 3
    assert times[1] - times[0] >= 60 * SCALE
    assert times[2] - times[1] >= 120 * SCALE
    assert {json.dumps(event) for _, event in seen(bench, function)} == {json.dumps(seen(bench, function)[0][1])}


def test_the_third_error_goes_to_the_destination_with_its_document(quick: tuple[Bench, Faults]) -> None:
    bench, faults = quick
    function, destination = keeper(bench, fails=9), keeper(bench)
    bench.client("lambda").put_function_event_invoke_config(
        FunctionName=function, Qualifier="$LATEST",
        DestinationConfig={"OnFailure": {"Destination": arn_of(bench, destination)}},
    )  # fmt: skip

    by_invoke(bench, function)

    ((_, document),) = at_rest(faults, bench, destination)
    assert len(seen(bench, function)) == 3
    assert datetime.strptime(document.pop("timestamp"), "%Y-%m-%dT%H:%M:%S.%f%z").tzinfo is not None
    assert document["requestContext"].pop("requestId")
    assert document.pop("responsePayload") | {"stackTrace": [], "requestId": ""} == {
        "errorType": "NotYet", "errorMessage": "tried too early", "stackTrace": [], "requestId": "",
    }  # fmt: skip
    assert document == {
        "version": "1.0",
        "requestContext": {
            "functionArn": arn_of(bench, function) + ":$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"what": "this"},
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    }


def test_a_function_says_how_often_and_how_long_its_events_are_tried(quick: tuple[Bench, Faults]) -> None:
    bench, faults = quick
    once, short = keeper(bench, fails=9), keeper(bench, fails=9)
    put = bench.client("lambda").put_function_event_invoke_config
    put(FunctionName=once, MaximumRetryAttempts=0)
    put(FunctionName=short, MaximumEventAgeInSeconds=100)

    for function in (once, short):
        by_rule(bench, function)

    assert len(at_rest(faults, bench, once)) == 1
    assert len(at_rest(faults, bench, short)) == 2


def test_an_event_of_a_function_that_is_gone_is_dropped(quick: tuple[Bench, Faults]) -> None:
    bench, faults = quick
    function = keeper(bench, fails=9)
    by_invoke(bench, function)
    until(lambda: seen(bench, function))

    bench.client("lambda").delete_function(FunctionName=function)

    assert len(at_rest(faults, bench, function)) == 1


def test_a_late_first_invocation_runs_after_its_repetition(quick: tuple[Bench, Faults]) -> None:
    bench, faults = quick
    function = keeper(bench)
    faults.set_functions({function: {"late": 4, "times": 1}})

    by_rule(bench, function)

    times = [at for at, _ in at_rest(faults, bench, function)]
    assert len(times) == 2
    # Less than the four seconds, of which the repetition's cold start is a part.
    assert times[1] - times[0] > 1
    assert faults.met() == {function}
    faults.set_functions({})


def test_the_stack_s_event_invoke_config_is_made(quick: tuple[Bench, Faults]) -> None:
    bench, _ = quick
    function, destination = keeper(bench), keeper(bench)
    settings = {
        "FunctionName": function, "Qualifier": "$LATEST",
        "DestinationConfig": {"OnFailure": {"Destination": arn_of(bench, destination)}},
    }  # fmt: skip
    resources = {"Config": {"Type": "AWS::Lambda::EventInvokeConfig", "Properties": settings}}
    stacks = bench.client("cloudformation")
    stacks.create_stack(StackName="invoke", TemplateBody=json.dumps({"Resources": resources}))
    stacks.get_waiter("stack_create_complete").wait(StackName="invoke", WaiterConfig={"Delay": 1})

    made = bench.client("lambda").get_function_event_invoke_config(FunctionName=function, Qualifier="$LATEST")

    assert made["DestinationConfig"]["OnFailure"]["Destination"] == arn_of(bench, destination)


def test_a_custom_resource_s_function_is_tried_again(quick: tuple[Bench, Faults]) -> None:
    bench, faults = quick
    function = bench.function(ANSWERS, Timeout=30)
    faults.set_functions({function: {"after": 1, "times": 1}})
    resources = {"It": {"Type": "Custom::It", "Properties": {"ServiceToken": arn_of(bench, function)}}}
    stacks = bench.client("cloudformation")

    stacks.create_stack(StackName="custom", TemplateBody=json.dumps({"Resources": resources}))

    stacks.get_waiter("stack_create_complete").wait(StackName="custom", WaiterConfig={"Delay": 1})
    assert faults.met() == {function}
    faults.set_functions({})


def test_ministack_still_delivers_an_event_of_a_rule_once(plain: Bench) -> None:
    function = keeper(plain, fails=1)
    by_rule(plain, function)
    until(lambda: seen(plain, function))
    time.sleep(4)
    assert len(seen(plain, function)) == 1
