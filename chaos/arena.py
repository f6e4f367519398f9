"""One embedded cloud in which cases run one after the other: proxies on both sides, small data. Runs in a worker."""

import contextlib
import json
import math
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError

from chaos.inventory import schedules
from contracts import layout
from lambdas.core.records import RunRecord, from_item
from local import deployment
from local.aws_faults import AwsFaults
from local.call_log import SWITCH, read
from local.cloud import LocalCloud
from local.faults import Faults
from local.sdk_pace import SCALE as SDK_SCALE
from local.server import CHANGE_SECONDS, INSTANCE_ENDPOINT, MINUTE_SECONDS, POWEROFF_SECONDS

# Step Functions waits and retries at a twentieth, the SDK of the functions at a fifth, a minute of `shutdown` is six
# seconds, and EC2 takes a fifth of a second from one state to the next. A machine takes longer to go down than cleanup
# takes to come, as on AWS: so that every clean run makes the same calls.
SPEED = {
    "SFN_WAIT_SCALE": "0.05", SDK_SCALE: "0.2", MINUTE_SECONDS: "6", CHANGE_SECONDS: "0.2", POWEROFF_SECONDS: "10",
    SWITCH: "1",
}  # fmt: skip
REQUEST: dict[str, Any] = {
    "dataset": "small", "models": ["SeasonalNaive"], "n_windows": 1, "prediction_length": 4, "allow_cpu": True,
    "boot_timeout_seconds": 60, "heartbeat_timeout_seconds": 30, "max_runtime_minutes": 40,
}  # fmt: skip
LONG: dict[str, Any] = {
    **REQUEST, "dataset": "long", "models": ["AutoETS"], "refit": "form", "prediction_length": 7, "n_windows": 8,
    "heartbeat_timeout_seconds": 20,
}  # fmt: skip
# A spot instance's run makes every call that one on demand makes, and asks for its price beside.
SPOT = {**REQUEST, "market": "spot"}
STEP_SECONDS = 0.25


class TooLong(RuntimeError):
    """What a case waited for did not come; the message names it."""


class Arena:
    """A deployed cloud with the data that the cases use.

    Parameters
    ----------
    folder : Path
        Its state folder.
    assembly : Path or None
        The synthesized stack, made once for all arenas.
    """

    def __init__(self, folder: Path, assembly: Path | None = None) -> None:
        self.cloud = LocalCloud(folder)
        self.aws, self.machine = AwsFaults(), AwsFaults()
        os.environ.update(SPEED | {INSTANCE_ENDPOINT: self.machine.url})
        self.cloud.start(controller_endpoint=self.aws.url)
        self.aws.start(self.cloud)
        self.machine.start(self.cloud)
        self.faults = Faults(folder)
        self._clients: dict[str, Any] = {}
        self.deploy(assembly)

    def deploy(self, assembly: Path | None = None) -> None:
        """Deploy the stack and put the data into its bucket."""
        self.cloud.deploy(assembly)
        self.environment = self.cloud.environment()
        self.bucket = self.environment["BUCKET"]
        self._fill()

    def destroy(self) -> None:
        """Delete the stack, with the bucket and the table left behind; `deploy` makes it anew."""
        deployment.destroy(self.cloud.folder, self.cloud.credentials())

    def client(self, service: str) -> Any:
        """Return a client of the cloud that no fault meets; one a service, since making one takes long."""
        if service not in self._clients:
            self._clients[service] = deployment.client(self.environment, service)
        return self._clients[service]

    def calm(self) -> None:
        """End every fault."""
        self.aws.set()
        self.machine.set()
        self.faults.set_machines({})
        for end in (self.faults.set_capacity, self.faults.set_tasks, self.faults.set_events, self.faults.set_functions):
            end({})
        events = self.client("events")
        for rule in self.rules():
            events.enable_rule(Name=rule)

    def forget_month(self) -> None:
        """Let the next run be the first one of its month: it makes a call more, and every case's run has to make it."""
        key = {"id": {"S": f"month#{datetime.now(UTC):%Y%m}"}}
        self.client("dynamodb").delete_item(TableName=self.environment["RUNS_TABLE"], Key=key)

    def rules(self) -> list[str]:
        """Return the names of the stack's event rules."""
        names = [str(rule["Name"]) for rule in self.client("events").list_rules()["Rules"]]
        return [name for name in names if name.startswith("ChronosTraining")]

    def start(self, request: dict[str, Any], name: str = "") -> str:
        """Start an execution and return its ARN."""
        named = {"name": name} if name else {}
        machine = self.environment["STATE_MACHINE_ARN"]
        states = self.client("stepfunctions")
        return str(states.start_execution(stateMachineArn=machine, input=json.dumps(request), **named)["executionArn"])

    def execution(self, arn: str) -> dict[str, Any]:
        """Return what DescribeExecution says."""
        return dict(self.client("stepfunctions").describe_execution(executionArn=arn))

    def record(self, arn: str) -> RunRecord | None:
        """Return the record of an execution's run, None when it registered none."""
        pointer = self.item("execution#" + arn)
        return from_item(self.item(pointer["run_id"])) if pointer else None

    def alive(self, run_id: str) -> set[str]:
        """Return the ids of a run's machines that work."""
        filters = [{"Name": "tag:RunId", "Values": [run_id]}, {"Name": "instance-state-name", "Values": ["running"]}]
        found = self.client("ec2").describe_instances(Filters=filters)["Reservations"]
        return {instance["InstanceId"] for reservation in found for instance in reservation["Instances"]}

    def objects(self, prefix: str) -> set[str]:
        """Return the keys below a prefix."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {content["Key"] for page in pages for content in page.get("Contents", [])}

    def report(self, record: RunRecord) -> dict[str, Any]:
        """Return the newest system-state.json, {} before the first."""
        with contextlib.suppress(ClientError):
            role_id = self.environment["MACHINE_ROLE_ID"]
            key = layout.machine_folder(record.prefix, role_id, record.instance_id) + layout.SYSTEM_STATE
            return dict(json.loads(self.client("s3").get_object(Bucket=self.bucket, Key=key)["Body"].read()))
        return {}

    def recorded(self, arn: str) -> str:
        """Return what the record says that a run ended as, "" when it has no verdict."""
        record = self.record(arn)
        return (record.reason_code or record.status) if record and record.ended_at else ""

    def calls_of(self, function: str) -> int:
        """Return how many AWS calls a function has made."""
        return sum(call.caller == f"lambda:{function}" for call in read(self.cloud.folder.calls))

    def bring_forward(self, run_id: str, arn: str = "") -> None:
        """Let the schedules of a run, or of its execution, fire now, which else takes until the run's deadline."""
        for armed in schedules(self, run_id, arn):
            # One that fires, or is disarmed, meanwhile needs no help.
            with contextlib.suppress(self.client("scheduler").exceptions.ResourceNotFoundException):
                self._bring_forward(armed)

    def _bring_forward(self, armed: dict[str, Any]) -> None:
        kept = ("Name", "GroupName", "FlexibleTimeWindow", "Target", "ActionAfterCompletion")
        soon = datetime.now(UTC) + timedelta(seconds=2)
        told = {field: armed[field] for field in kept}
        self.client("scheduler").update_schedule(**told, ScheduleExpression=f"at({soon:%Y-%m-%dT%H:%M:%S})")

    def close(self) -> None:
        """End the cloud and every process of it."""
        self.cloud.stop()

    def item(self, key: str) -> dict[str, Any]:
        """Return an item of the runs table, {} when there is none."""
        table = self.environment["RUNS_TABLE"]
        item = self.client("dynamodb").get_item(TableName=table, Key={"id": {"S": key}}, ConsistentRead=True)
        return {name: TypeDeserializer().deserialize(value) for name, value in item.get("Item", {}).items()}

    def _fill(self) -> None:
        s3 = self.client("s3")
        for name, series, length in (("long", 4, 700), ("small", 3, 72)):
            s3.put_object(Bucket=self.bucket, Key=f"datasets/{name}/data.csv", Body=series_csv(series, length))


def series_csv(series: int, length: int) -> bytes:
    """Return `series` daily series of `length` values with a season of a week, as CSV."""
    first = datetime(2015, 1, 1, tzinfo=UTC)
    rows = [
        f"series-{s},{first + timedelta(days=t):%Y-%m-%d},{50 + 10 * math.sin(2 * math.pi * t / 7) + (s * t * 37) % 5}"
        for s in range(series)
        for t in range(length)
    ]
    return "\n".join(["unique_id,ds,y", *rows, ""]).encode()


def wait(look: Callable[[], Any], what: str, seconds: float, step: float = STEP_SECONDS) -> Any:
    """Return the first true value of `look`, asked every `step` seconds; raises TooLong when there is none in time."""
    gives_up_at = time.monotonic() + seconds
    while time.monotonic() < gives_up_at:
        if found := look():
            return found
        time.sleep(step)
    raise TooLong(f"waited {seconds:.0f} s for {what}")
