"""The training state machine on moto's interpreter, with real handlers and an instance played by the test. pytest."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import boto3

from contracts import layout
from contracts.documents import Document, dump
from infra.definition import parsed
from lambdas.core.records import RunRecord
from tests.statemachine.functions import Functions
from tests.waiting import until

REPOSITORY = Path(__file__).parent.parent.parent
STATES = ("AcceptRun", "LaunchInstance", "AwaitTraining", "CollectOutcome", "Cleanup", "RecordRun")
REGION = "us-east-1"
BUCKET = "stage-bucket"
ROLE_ID = "AROAEXAMPLE"
ROLE = "arn:aws:iam::123456789012:role/stage"
MONTHS = [f"{year}-{month:02d}-01" for year in (2019, 2020) for month in range(1, 13)]
CSV = "unique_id,ds,y\n" + "".join(f"a,{month},{number}\n" for number, month in enumerate(MONTHS))
PATIENCE_SECONDS = 60.0


@lru_cache
def aws(service: str) -> Any:
    """Return the test's own client of a service, kept as long as the stage."""
    return boto3.client(service)


def folder(record: RunRecord) -> str:
    """Return where the current attempt's machine writes."""
    return layout.machine_folder(record.prefix, ROLE_ID, record.instance_id)


def placeholders() -> dict[str, str]:
    """Return what the stage has in place of what CloudFormation fills into the definition."""
    names = {f"{name}Arn": name for name in STATES}
    return {**names, "RunsAddress": f"s3://{BUCKET}/{layout.RUNS}", "ExecutionTimeoutSeconds": "3600"}


def definition(document: Document | None = None) -> str:
    """Return the state machine, the current one by default, with function names for ARNs and short waits."""
    document = document or parsed(placeholders())
    for name in ("WaitForDeletion", "WaitForCapacity"):
        document["States"][name]["Seconds"] = 1
    return json.dumps(document)


@dataclass
class Stage:
    """One state machine and what a test needs to play the instance and the events around it."""

    machine_arn: str
    runs: Any
    functions: Functions = field(default_factory=Functions)
    asynchronous: bool = False

    def tell(self, function: str, event: Document) -> None:
        """Deliver an event: once, so that a test hears of an error, or with all the tries that AWS makes."""
        (self.functions.deliver if self.asynchronous else self.functions.run)(function, event)

    def start(self, request: Document, name: str) -> str:
        states = aws("stepfunctions")
        answer = states.start_execution(stateMachineArn=self.machine_arn, name=name, input=json.dumps(request))
        return str(answer["executionArn"])

    def record(self, arn: str) -> RunRecord | None:
        return self.runs.of_execution(arn)

    def waiting(self, arn: str, stage: str, attempt: int = 1) -> RunRecord:
        """Wait until the run waits in `stage`; returns its record."""

        def there() -> RunRecord | None:
            record = self.record(arn)
            ready = record and record.stage == stage and record.attempt == attempt and record.task_token
            return record if ready and record.instance_id else None

        return until(there, f"{arn} to wait in {stage}", PATIENCE_SECONDS)

    def report(self, record: RunRecord, seq: int, status: str = "running", **more: Any) -> None:
        """Write system-state.json as the instance does, and deliver the event."""
        state = {
            "schema_version": 1,
            "run_id": record.run_id,
            "attempt": record.attempt,
            "instance_id": record.instance_id,
            "seq": seq,
            "status": status,
            "phase": "training",
            "heartbeat_at": "2026-11-23T18:00:00Z",
            **more,
        }
        key = folder(record) + layout.SYSTEM_STATE
        aws("s3").put_object(Bucket=BUCKET, Key=key, Body=dump("system_state", state))
        self.tell("ObserveState", {"detail": {"object": {"key": key}}})

    def boot(self, arn: str, attempt: int = 1) -> RunRecord:
        """Play an instance that boots; returns the record once the workflow awaits its training."""
        record = self.waiting(arn, "boot", attempt)
        self.report(record, 1, "booting", phase="boot")
        return self.waiting(arn, "training", attempt)

    def complete(self, record: RunRecord, seq: int = 10) -> None:
        """Play an instance that uploads its artifacts and says so."""
        artifacts = [self._artifact(record, layout.MODEL_METADATA, metadata(record))]
        for model in record.request["models"]:
            artifacts += [
                self._artifact(record, f"{folder}/{model}.parquet", b"PAR1") for folder in ("forecasts", "backtest")
            ]
        training = {
            "schema_version": 1, "run_id": record.run_id, "attempt": record.attempt, "instance_id": record.instance_id,
            "status": "completed", "phases": {}, "total_duration_seconds": 1.0, "artifacts": artifacts,
        }  # fmt: skip
        aws("s3").put_object(Bucket=BUCKET, Key=folder(record) + layout.TRAINING, Body=dump("training", training))
        self.report(record, seq, "completed", phase="done")

    @staticmethod
    def _artifact(record: RunRecord, path: str, body: bytes) -> Document:
        digest = hashlib.sha256(body)
        aws("s3").put_object(
            Bucket=BUCKET,
            Key=folder(record) + path,
            Body=body,
            ChecksumAlgorithm="SHA256",
        )
        return {"path": path, "bytes": len(body), "sha256": digest.hexdigest()}

    def lose(self, record: RunRecord, spot: bool = False) -> None:
        """Play a machine that goes away, after a spot notice or without one."""
        detail = {"instance-id": record.instance_id, "instance-action": "terminate"}
        if spot:
            self.tell("ObserveInstance", {"detail-type": "EC2 Spot Instance Interruption Warning", "detail": detail})
        aws("ec2").terminate_instances(InstanceIds=[record.instance_id])
        gone = {**detail, "state": "terminated"}
        changed = {"detail-type": "EC2 Instance State-change Notification", "detail": gone}
        self.tell("ObserveInstance", changed)

    def ended(self, arn: str) -> Document:
        """Wait for the end of an execution; returns its description."""
        states = aws("stepfunctions")
        until(
            lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING",
            f"{arn} to end",
            PATIENCE_SECONDS,
        )
        return states.describe_execution(executionArn=arn)

    def sweep(self, arn: str, status: str) -> None:
        """Deliver the status-change event of an ended execution."""
        self.tell("SweepRun", {"source": "aws.states", "detail": {"executionArn": arn, "status": status}})

    @staticmethod
    def entered(arn: str) -> list[str]:
        """Return the states an execution entered, in order."""
        pages = aws("stepfunctions").get_paginator("get_execution_history").paginate(executionArn=arn)
        events = [event for page in pages for event in page["events"]]
        return [e["stateEnteredEventDetails"]["name"] for e in events if "stateEnteredEventDetails" in e]

    @staticmethod
    def left_behind() -> list[str]:
        """Return every instance that lives and every schedule there is."""
        pages = aws("ec2").describe_instances()
        instances = [i for r in pages["Reservations"] for i in r["Instances"]]
        alive = [i["InstanceId"] for i in instances if i["State"]["Name"] != "terminated"]
        return alive + [s["Name"] for s in aws("scheduler").list_schedules()["Schedules"]]


def metadata(record: RunRecord) -> bytes:
    """Return a model_metadata.json."""
    data = {
        "dataset": "small", "sha256": "0" * 64, "series": 1, "rows": 24, "freq": "MS", "season_length": 12,
        "prediction_length": 6, "n_windows": 1, "first_ds": "2019-01-01", "last_ds": "2020-12-01",
    }  # fmt: skip
    environment = {"sha256": "0" * 64, "packages": {}, "python": "3.11", "device": "cpu", "dtype": "float32"}
    models = {
        name: {"metrics": {"mae": 1.0, "mase": 0.5}, "seconds": 1.0, "backtest_path": "b", "forecast_path": "f"}
        for name in record.request["models"]
    }
    document = {
        "schema_version": 1, "run_id": record.run_id, "created_at": "2026-11-23T18:00:00Z",
        "request": record.request, "data": data, "environment": environment, "models": models,
    }  # fmt: skip
    return dump("model_metadata", document)
