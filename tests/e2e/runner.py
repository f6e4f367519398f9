"""Start runs on the embedded cloud as a person would, and look at what they left. Runs with pytest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from contracts import layout
from contracts.documents import Document, parse
from lambdas.core.records import RunRecord, from_item
from local.cloud import LocalCloud
from local.faults import Faults
from tests.waiting import until

# Far above any run here: waiting ends with the run, whose own deadlines are the bound that is tested.
PATIENCE_SECONDS = 420.0


def patiently(look: Callable[[], Any], what: str) -> Any:
    """Wait as long as a whole run may take on a busy machine."""
    return until(look, what, PATIENCE_SECONDS)


@dataclass
class Ended:
    """An execution that has ended."""

    arn: str
    status: str
    error: str
    cause: str
    record: RunRecord | None


class Runner:
    """Runs of one embedded cloud."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.environment = cloud.environment()
        self.faults = Faults(cloud.folder.path)
        self.bucket = self.environment["BUCKET"]

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def aws(self, *arguments: str) -> Any:
        """Call the real aws CLI; returns its JSON answer."""
        path = str(Path(__file__).parent.parent.parent / ".venv" / "bin")
        done = subprocess.run(
            ["aws", *arguments, "--output", "json"],
            env={**self.environment, "PATH": f"{path}:/usr/local/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout or "null")

    def cli(self, *arguments: str) -> str:
        """Return what `python -m cli` prints for the arguments."""
        command = [sys.executable, "-m", "cli", *arguments]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def start(self, request: Any) -> str:
        answer = self.aws(
            "stepfunctions",
            "start-execution",
            "--state-machine-arn",
            self.environment["STATE_MACHINE_ARN"],
            "--input",
            json.dumps(request),
        )
        return str(answer["executionArn"])

    def run(self, request: Any) -> Ended:
        return self.finish(self.start(request))

    def finish(self, arn: str) -> Ended:
        states = self.client("stepfunctions")
        patiently(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING", f"{arn} to end")
        ended = states.describe_execution(executionArn=arn)
        record = self.record_of(arn)
        if record:
            patiently(lambda: self.record_of(arn).ended_at, "the verdict to be recorded")  # type: ignore[union-attr]
        return Ended(arn, ended["status"], ended.get("error", ""), ended.get("cause", ""), self.record_of(arn))

    def record_of(self, arn: str) -> RunRecord | None:
        pointer = self._item("execution#" + arn)
        return from_item(self._item(pointer["run_id"])) if pointer else None

    def _item(self, key: str) -> Document:
        table = boto3.resource(
            "dynamodb",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name=self.environment["AWS_DEFAULT_REGION"],
            aws_access_key_id="test",
            aws_secret_access_key="test",
        ).Table(self.environment["RUNS_TABLE"])
        return table.get_item(Key={"id": key}, ConsistentRead=True).get("Item", {})

    def training(self, arn: str, step: int = 1) -> RunRecord:
        """Wait until the run has made `step` steps of training; returns its record."""
        states = self.client("stepfunctions")

        def far_enough() -> RunRecord | None:
            record = self.record_of(arn)
            reported = record and record.instance_id
            path = self.folder(record).removeprefix(record.prefix) + layout.SYSTEM_STATE if reported else ""
            state = self.document("system_state", record, path) if reported else None
            progress = (state or {}).get("progress") or {}
            reached = state and state["phase"] == "training" and progress.get("step", 0) >= step
            if reached and record and record.instance_id == state["instance_id"]:
                return record
            ended = states.describe_execution(executionArn=arn)
            assert ended["status"] == "RUNNING", f"ended before it trained: {ended.get('cause')}"
            return None

        return patiently(far_enough, "training to progress")

    def folder(self, record: RunRecord) -> str:
        """Return where the current attempt's machine writes."""
        return layout.machine_folder(record.prefix, self.environment["MACHINE_ROLE_ID"], record.instance_id)

    def document(self, name: str, record: RunRecord, path: str) -> Document | None:
        try:
            body = self.client("s3").get_object(Bucket=self.bucket, Key=record.prefix + path)["Body"].read()
        except self.client("s3").exceptions.NoSuchKey:
            return None
        return parse(name, body)

    def paths(self, record: RunRecord) -> set[str]:
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=record.prefix)
        return {o["Key"].removeprefix(record.prefix) for page in pages for o in page.get("Contents", [])}

    def living_instances(self, run_id: str) -> list[str]:
        pages = self.client("ec2").describe_instances(Filters=[{"Name": "tag:RunId", "Values": [run_id]}])
        found = [i for r in pages["Reservations"] for i in r["Instances"]]
        return [i["InstanceId"] for i in found if i["State"]["Name"] != "terminated"]

    def schedules(self) -> set[str]:
        return {s["Name"] for s in self.client("scheduler").list_schedules()["Schedules"]}

    def assert_nothing_left(self, record: RunRecord) -> Document:
        """Assert that nothing of the run is left, in the cloud and in its receipt; returns the receipt."""
        patiently(lambda: self.document("cleanup_status", record, layout.CLEANUP_STATUS), "the receipt")
        receipt = self.document("cleanup_status", record, layout.CLEANUP_STATUS)
        assert receipt is not None
        assert receipt["everything_gone"], receipt
        assert self.living_instances(record.run_id) == []
        assert record.run_id not in self.schedules()
        volumes = self.client("ec2").describe_volumes(Filters=[{"Name": "tag:RunId", "Values": [record.run_id]}])
        assert volumes["Volumes"] == []
        return receipt
