"""The controller's AWS for its tests: moto, a settable clock, a recording Step Functions. Runs under pytest."""

import io
import itertools
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from contracts.documents import dump
from contracts.layout import CLEANUP_STATUS, SYSTEM_STATE, run_prefix
from lambdas import launch_instance
from lambdas.adapters import clients, cloud, compute, executions, settings
from lambdas.adapters.telemetry import logger
from lambdas.core.acceptance import checked_request, deadline_at
from lambdas.core.budget import month_of
from lambdas.core.ladder import Rung
from lambdas.core.records import Attempt, RunRecord
from lambdas.flows import cleaning, launching
from tests.lambda_context import Context

REGION = "us-east-1"
IMAGE = "ami-0123456789abcdef0"
BUCKET = "training-bucket"
RUN_ID = "20261123-180000"
# 2026-11-23T18:00:00Z, the moment in the run id and in events/state_accept_run.json.
CREATED_AT = 1795456800
EXECUTION_ARN = "arn:aws:states:us-east-1:123456789012:execution:ChronosTraining-training:run-1"
STATE_MACHINE_ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:ChronosTraining-training"
CSV = "unique_id,ds,y\n" + "".join(f"A,2026-01-{day:02d},{day}.5\n" for day in range(1, 31))


class FakeStepFunctions:
    """Records what the state machine is told; moto does not know task tokens. `refuse` names an error to answer."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.refuse = ""
        self.running: list[str] = []
        self.history: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        def call(**arguments: Any) -> dict[str, Any]:
            self.calls.append((operation, arguments))
            if self.refuse:
                raise ClientError({"Error": {"Code": self.refuse, "Message": "refused by the test"}}, operation)
            return {"executionArn": EXECUTION_ARN}

        return call

    def get_paginator(self, _operation: str) -> "FakeStepFunctions":
        return self

    def paginate(self, **arguments: Any) -> list[dict[str, Any]]:
        if "executionArn" in arguments:
            if self.refuse:
                raise ClientError({"Error": {"Code": self.refuse, "Message": ""}}, "GetExecutionHistory")
            return [{"events": [event]} for event in self.history]
        return [{"executions": [{"executionArn": arn} for arn in self.running]}]

    def settlements(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was sent for task tokens."""
        return [(name.removeprefix("send_task_"), given) for name, given in self.calls if name.startswith("send_task_")]


class Ec2:
    """moto's EC2 with client tokens as AWS honours them, refusals on demand, and a look at each launch."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.launches: list[dict[str, Any]] = []
        self.refusals: list[str] = []
        self.on_launch: Callable[[], None] = lambda: None
        self._answers: dict[str, tuple[dict[str, Any], Any]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run_instances(self, **given: Any) -> Any:
        self.launches.append(given)
        self.on_launch()
        if self.refusals and (code := self.refusals.pop(0)):
            raise ClientError({"Error": {"Code": code, "Message": "refused by the test"}}, "RunInstances")
        asked, answer = self._answers.setdefault(given["ClientToken"], (given, None))
        if asked != given:
            raise ClientError({"Error": {"Code": "IdempotentParameterMismatch", "Message": ""}}, "RunInstances")
        answer = answer or self._real.run_instances(**given)
        self._answers[given["ClientToken"]] = (given, answer)
        return answer


class Clock:
    """The controller's time, epoch seconds."""

    def __init__(self) -> None:
        self.now = CREATED_AT + 60


@dataclass
class World:
    """Everything a function can reach, and ways to put things there and to look at them."""

    cloud: cloud.Cloud
    clock: Clock
    ec2: Ec2
    states: FakeStepFunctions
    vpc_id: str
    context: Context = field(default_factory=Context)

    def put(self, key: str, content: bytes | str) -> None:
        body = content.encode() if isinstance(content, str) else content
        clients.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body, ChecksumAlgorithm="SHA256")

    def keys(self, prefix: str = "") -> list[str]:
        return [stored.key for stored in self.cloud.objects.listed(prefix)]

    def document(self, key: str) -> Any:
        return json.loads(self.cloud.objects.head(key, 10_000_000) or b"null")

    def put_inputs(self) -> None:
        """Put a data set and Chronos weights."""
        self.put("datasets/stocks/prices.csv", CSV)
        self.put("cached-models/chronos-bolt-nano/config.json", "{}")
        self.put("cached-models/chronos-bolt-nano/model.safetensors", "weights")

    def register(self, request: dict[str, Any] | None = None, estimate_usd: float = 1.5, **changes: Any) -> RunRecord:
        """Register a run that launched at the clock's time and waits for training, or what `changes` say."""
        asked = checked_request(request or {})
        record = RunRecord(
            run_id=RUN_ID, execution_arn=EXECUTION_ARN, prefix=run_prefix(RUN_ID), request=asked,
            created_at=CREATED_AT, deadline_at=deadline_at(asked, CREATED_AT), estimate_usd=estimate_usd,
        )  # fmt: skip
        assert self.admit(record)
        return self.cloud.runs.note(record, changes) if changes else record

    def admit(self, record: RunRecord) -> bool:
        """Register a record in its month, whatever the budget; returns False when its run id is taken."""
        return self.cloud.runs.register(record, self.cloud.runs.month(month_of(record.run_id)))

    def launch(self, record: RunRecord, attempt: int = 1, **changes: Any) -> RunRecord:
        """Launch an instance of the attempt as LaunchInstance does, and record it."""
        rung = Rung("on_demand", "g4dn.2xlarge", self.cloud.settings.subnet_ids[0])
        of_attempt = record.with_changes({"attempt": attempt, "launch_started_at": self.clock.now})
        tags = launching._tags(self.cloud, of_attempt)
        launched = self.cloud.compute.launch(rung, f"{record.run_id}-{attempt}", tags)
        entry = Attempt(attempt, launched.instance_id, "g4dn.2xlarge", "on_demand", launched.zone, self.clock.now)
        facts = {
            "attempt": attempt, "instance_id": launched.instance_id, "attempts": (*record.attempts, entry),
            "launch_started_at": self.clock.now, "launch_ended_at": self.clock.now,
        }  # fmt: skip
        return self.cloud.runs.note(record, {**facts, **changes})

    def report(self, record: RunRecord, seq: int, status: str, **more: Any) -> None:
        """Write system-state.json as the current instance would."""
        phase = {"booting": "boot", "completed": "done"}.get(status, "training")
        state = {
            "schema_version": 1, "run_id": record.run_id, "attempt": record.attempt, "seq": seq, "status": status,
            "instance_id": record.instance_id, "phase": phase, "heartbeat_at": "2026-11-23T18:05:00Z", **more,
        }  # fmt: skip
        self.put(self.cloud.folder(record) + SYSTEM_STATE, dump("system_state", state))

    def written(self, happened: dict[str, Any]) -> dict[str, Any]:
        """Return an event of the sample machine's report as one of the current attempt's machine."""
        record = self.cloud.runs.load(RUN_ID)
        if record and record.instance_id:
            thing = happened["detail"]["object"]
            thing["key"] = thing["key"].replace("i-0123456789abcdef0", record.instance_id)
        return happened

    def load(self) -> RunRecord:
        record = self.cloud.runs.load(RUN_ID)
        assert record is not None
        return record

    def instance_state(self, instance_id: str) -> str:
        answer = self.ec2.describe_instances(InstanceIds=[instance_id])
        return str(answer["Reservations"][0]["Instances"][0]["State"]["Name"])

    def instances(self) -> list[str]:
        answer = self.ec2.describe_instances()
        return [i["InstanceId"] for reservation in answer["Reservations"] for i in reservation["Instances"]]

    def receipt(self) -> Any:
        return self.document(run_prefix(RUN_ID) + CLEANUP_STATUS)

    def armed(self) -> bool:
        return bool(self.cloud.schedules.armed(RUN_ID))


@pytest.fixture(scope="session")
def make_record() -> Callable[..., RunRecord]:
    """Return a function that makes a record of a run in training; its arguments are fields to change."""

    def make(request: dict[str, Any] | None = None, **changes: Any) -> RunRecord:
        asked = checked_request(request or {})
        record = RunRecord(
            run_id=RUN_ID, execution_arn=EXECUTION_ARN, prefix=run_prefix(RUN_ID), request=asked,
            created_at=CREATED_AT, deadline_at=deadline_at(asked, CREATED_AT), estimate_usd=1.5,
            status="training", stage="training", task_token="token-of-training", instance_id="i-0123456789abcdef0",
            launch_started_at=CREATED_AT + 10, launch_ended_at=CREATED_AT + 12,
        )  # fmt: skip
        return record.with_changes(changes)

    return make


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Give an empty AWS with the stack's bucket, table, network, template and schedule group."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    # Reading moto's thousand images takes seconds, and no test needs one of them.
    monkeypatch.setenv("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
    with mock_aws():
        yield _make(monkeypatch)
    settings.settings.cache_clear()


@pytest.fixture
def launch(world: World, event: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a function that calls LaunchInstance, each time as the next try of its state, or as `changes` say."""
    tries = itertools.count()

    def call(**changes: Any) -> Any:
        payload = {**event("state_launch_instance"), "retry_count": next(tries), **changes}
        return launch_instance.handler(payload, world.context)

    return call


@pytest.fixture
def log_text() -> Iterator[Callable[[], str]]:
    """Return a function that gives all that the controller has logged so far, as CloudWatch would get it."""
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(logger.registered_formatter)
    logger.addHandler(handler)
    yield lambda: str(handler.stream.getvalue())
    logger._logger.removeHandler(handler)


def _make(monkeypatch: pytest.MonkeyPatch) -> World:
    vpc_id, environment = _resources()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.settings.cache_clear()
    clock, states = Clock(), FakeStepFunctions()
    spy = Ec2(clients.client("ec2"))
    monkeypatch.setattr(cloud.Cloud, "now", staticmethod(lambda: clock.now))
    monkeypatch.setattr(compute, "client", lambda service, *_: spy if service == "ec2" else clients.client(service))
    monkeypatch.setattr(executions, "client", lambda *_: states)
    for flow in (cleaning, launching):
        monkeypatch.setattr(flow, "POLL_SECONDS", 0.0)
    return World(cloud.cloud(), clock, spy, states, vpc_id)


def _resources() -> tuple[str, dict[str, str]]:
    """Make what the stack makes; returns the VPC and the environment of the functions."""
    clients.client("s3").create_bucket(Bucket=BUCKET)
    text = [{"AttributeName": name, "AttributeType": "S"} for name in ("id", "kind", "run_id")]
    clients.client("dynamodb").create_table(
        TableName="runs", BillingMode="PAY_PER_REQUEST", AttributeDefinitions=text,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[{
            "IndexName": "by-time", "Projection": {"ProjectionType": "ALL"},
            "KeySchema": [
                {"AttributeName": "kind", "KeyType": "HASH"}, {"AttributeName": "run_id", "KeyType": "RANGE"},
            ],
        }],
    )  # fmt: skip
    ec2 = clients.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.73.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc_id, CidrBlock=f"10.73.{n}.0/24", AvailabilityZone=f"us-east-1{zone}")
        for n, zone in enumerate("abc")
    ]
    disk = {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 100, "DeleteOnTermination": True}}
    template = ec2.create_launch_template(
        LaunchTemplateName="training", LaunchTemplateData={"ImageId": IMAGE, "BlockDeviceMappings": [disk]}
    )["LaunchTemplate"]["LaunchTemplateId"]
    clients.client("scheduler").create_schedule_group(Name="dead-men")
    return vpc_id, {
        "PROJECT": "ChronosTraining",
        "BUCKET": BUCKET,
        "RUNS_TABLE": "runs",
        "LAUNCH_TEMPLATE_ID": template,
        "MACHINE_ROLE_ID": "AROAEXAMPLE",
        "SUBNET_IDS": ",".join(subnet["Subnet"]["SubnetId"] for subnet in subnets),
        "STATE_MACHINE_ARN": STATE_MACHINE_ARN,
        "SWEEP_FUNCTION_ARN": "arn:aws:lambda:us-east-1:123456789012:function:ChronosTraining-sweep-run",
        "SCHEDULE_GROUP": "dead-men",
        "SCHEDULER_ROLE_ARN": "arn:aws:iam::123456789012:role/scheduler",
        "MONTHLY_BUDGET_USD": "50",
        "DEAD_MAN_MARGIN_SECONDS": "900",
    }
