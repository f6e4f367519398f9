"""What the tests of the embedded cloud do with it. Runs with pytest."""

import base64
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

from local.deployment import client
from tests.waiting import until

ROLE = "arn:aws:iam::000000000000:role/any"


class Bench:
    """What the tests do with a cloud, ours or plain MiniStack."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.client = cache(lambda service: client(environment, service))
        self.client("dynamodb").create_table(
            TableName="tokens",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )

    def machine(self, states: dict[str, Any], **fields: Any) -> str:
        definition = json.dumps({"StartAt": next(iter(states)), "States": states, **fields})
        made = self.client("stepfunctions").create_state_machine(
            name=f"m-{uuid.uuid4().hex}", definition=definition, roleArn=ROLE
        )
        return made["stateMachineArn"]

    def start(self, machine: str, data: dict[str, Any] | None = None, **fields: Any) -> str:
        text = json.dumps({"id": uuid.uuid4().hex, **(data or {})})
        arguments = {"stateMachineArn": machine, "input": text, **fields}
        return self.client("stepfunctions").start_execution(**arguments)["executionArn"]

    def describe(self, execution: str) -> dict[str, Any]:
        return self.client("stepfunctions").describe_execution(executionArn=execution)

    def finish(self, execution: str) -> dict[str, Any]:
        return until(lambda: (found := self.describe(execution))["status"] != "RUNNING" and found)

    def history(self, execution: str) -> list[dict[str, Any]]:
        return self.client("stepfunctions").get_execution_history(executionArn=execution)["events"]

    def kinds(self, execution: str) -> list[str]:
        return [event["type"] for event in self.history(execution)]

    def token(self, execution: str, other_than: str = "") -> str:
        """Return the token the callback state of `waiting` stored."""
        key = {"id": {"S": json.loads(self.describe(execution)["input"])["id"]}}

        def look() -> str:
            item = self.client("dynamodb").get_item(TableName="tokens", Key=key).get("Item")
            return item["token"]["S"] if item and item["token"]["S"] != other_than else ""

        return until(look)

    def function(self, source: str, **fields: Any) -> str:
        bundle = io.BytesIO()
        with zipfile.ZipFile(bundle, "w") as archive:
            archive.writestr("index.py", source)
        made = self.client("lambda").create_function(
            FunctionName=f"f-{uuid.uuid4().hex[:8]}",
            Runtime="python3.13",
            Role=ROLE,
            Handler="index.handler",
            Code={"ZipFile": bundle.getvalue()},
            **fields,
        )
        return made["FunctionName"]

    def template(self, user_data: str, **data: Any) -> str:
        encoded = base64.b64encode(user_data.encode()).decode()
        settings = {"ImageId": "ami-1", "InstanceType": "g4dn.2xlarge", "UserData": encoded}
        settings |= {"InstanceInitiatedShutdownBehavior": "terminate", **data}
        made = self.client("ec2").create_launch_template(
            LaunchTemplateName=f"t-{uuid.uuid4().hex}", LaunchTemplateData=settings
        )
        return made["LaunchTemplate"]["LaunchTemplateId"]

    def run(self, template: str, **arguments: Any) -> str:
        wanted = {"LaunchTemplate": {"LaunchTemplateId": template}, "MinCount": 1, "MaxCount": 1}
        return self.client("ec2").run_instances(**wanted, **arguments)["Instances"][0]["InstanceId"]

    def instance(self, instance_id: str) -> dict[str, Any]:
        found = self.client("ec2").describe_instances(InstanceIds=[instance_id])
        return found["Reservations"][0]["Instances"][0]

    def await_state(self, instance_id: str, state: str) -> dict[str, Any]:
        return until(lambda: (found := self.instance(instance_id))["State"]["Name"] == state and found)

    def console(self, instance_id: str) -> str:
        return self.client("ec2").get_console_output(InstanceId=instance_id)["Output"]

    def await_console(self, instance_id: str, text: str) -> str:
        return until(lambda: text in (said := self.console(instance_id)) and said)

    def listen(self, source: str) -> str:
        """Return the URL of a queue that gets the bus events of a source."""
        name = f"q-{uuid.uuid4().hex[:8]}"
        queue = self.client("sqs").create_queue(QueueName=name)["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:000000000000:{name}"
        self.client("events").put_rule(Name=name, EventPattern=json.dumps({"source": [source]}))
        self.client("events").put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn}])
        return queue

    def heard(self, queue: str, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Return the events of a queue as soon as they are enough."""
        events: list[dict[str, Any]] = []

        def look() -> bool:
            answer = self.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10)
            events.extend(json.loads(message["Body"]) for message in answer.get("Messages", []))
            return enough(events)

        until(look)
        return events


def waiting(**fields: Any) -> dict[str, Any]:
    """Return a callback state that stores its token in the table and ends the execution."""
    parameters = {"TableName": "tokens", "Item": {"id": {"S.$": "$.id"}, "token": {"S.$": "$$.Task.Token"}}}
    resource = "arn:aws:states:::aws-sdk:dynamodb:putItem.waitForTaskToken"
    return {"Type": "Task", "Resource": resource, "Parameters": parameters, "End": True, **fields}
