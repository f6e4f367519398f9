"""Stacks that cannot be deleted at first: what the resource that refuses needs stays until it is gone."""

import json
import uuid

import pytest
from botocore.exceptions import WaiterError

from tests.local.bench import Bench

pytestmark = pytest.mark.emulator
# Refuses to be deleted as long as there is a parameter of its name.
REFUSES = """
import boto3, json, urllib.request
def handler(event, context):
    name = event["ResourceProperties"]["Name"]
    refused = event["RequestType"] == "Delete" and boto3.client("ssm").get_parameters(Names=[name])["Parameters"]
    answer = {"Status": "FAILED" if refused else "SUCCESS", "Reason": "not yet", "PhysicalResourceId": "it",
              "StackId": event["StackId"], "RequestId": event["RequestId"],
              "LogicalResourceId": event["LogicalResourceId"]}
    urllib.request.urlopen(urllib.request.Request(event["ResponseURL"], json.dumps(answer).encode(), method="PUT"))
"""


def refusing_stack(bench: Bench) -> tuple[str, str]:
    """Return the names of a stack and of its queue, which a custom resource needs that refuses to go."""
    name = f"d-{uuid.uuid4().hex[:8]}"
    bench.client("ssm").put_parameter(Name=name, Value="x", Type="String")
    function = bench.client("lambda").get_function(FunctionName=bench.function(REFUSES, Timeout=30))
    arn = function["Configuration"]["FunctionArn"]
    resources = {
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": name}},
        "Other": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": f"{name}-other"}},
        "It": {"Type": "Custom::It", "Properties": {"ServiceToken": arn, "Name": name}, "DependsOn": "Queue"},
    }
    stacks = bench.client("cloudformation")
    stacks.create_stack(StackName=name, TemplateBody=json.dumps({"Resources": resources}))
    stacks.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    stacks.delete_stack(StackName=name)
    with pytest.raises(WaiterError):
        stacks.get_waiter("stack_delete_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
    return name, name


def queues(bench: Bench, prefix: str) -> set[str]:
    found = bench.client("sqs").list_queues(QueueNamePrefix=prefix).get("QueueUrls", [])
    return {url.rpartition("/")[2] for url in found}


def test_what_a_resource_needs_stays_until_it_could_be_deleted(bench: Bench) -> None:
    stack, queue = refusing_stack(bench)
    assert queues(bench, queue) == {queue}
    bench.client("ssm").delete_parameter(Name=stack)

    bench.client("cloudformation").delete_stack(StackName=stack)

    bench.client("cloudformation").get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig={"Delay": 1})
    assert queues(bench, queue) == set()


def test_ministack_still_deletes_what_a_resource_needs_that_refused(plain: Bench) -> None:
    _, queue = refusing_stack(plain)
    assert queues(plain, queue) == set()
