"""Plays one run from its start to its end, in one of the ways runs go, and looks at what it left. Runs under pytest."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from botocore.exceptions import ClientError
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from contracts import layout
from contracts.documents import Document
from lambdas.core.records import RunRecord
from tests.statemachine.stage import BUCKET, REGION, Stage, aws

REQUEST = {
    "dataset": "small", "prediction_length": 3, "n_windows": 1, "models": ["AutoETS"], "max_attempts": 1,
    "boot_timeout_seconds": 30, "heartbeat_timeout_seconds": 30,
}  # fmt: skip
PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.1
GROUP = "dead-men"


@dataclass(frozen=True)
class Way:
    """A way for a run to go, and how it must end: the execution's status, the record's status and reason code."""

    name: str
    status: str
    record: str
    reason_code: str = ""


COMPLETE = Way("complete", "SUCCEEDED", "completed")
UPLOADED = Way("uploaded", "SUCCEEDED", "completed")
LOST = Way("lost", "FAILED", "failed", "InstanceLost")
ABORTED = Way("aborted", "ABORTED", "aborted", "Aborted")
DEAD_MAN = Way("dead man", "ABORTED", "failed", "ExecutionTimedOut")
DRAINED = Way("drained", "ABORTED", "aborted", "Aborted")


@dataclass
class Player:
    """Plays runs on a stage, one after another, with all the tries that AWS makes of each call."""

    stage: Stage
    played: int = 0
    answers: list[Document] = field(default_factory=list)
    answer_address: str = ""

    def __post_init__(self) -> None:
        self.stage.asynchronous = True

    def play(self, way: Way, **request: Any) -> str:
        """Play a run; returns the ARN of its execution."""
        arn = self.begin(way, {**REQUEST, **request})
        record = self.waiting(arn, "boot")
        if record:
            self.stage.report(record, 1, "booting", phase="boot")
            record = self.waiting(arn, "training")
        if record:
            self.go(way, arn, record)
        self.end(arn)
        return arn

    def begin(self, way: Way, request: Document) -> str:
        """Start a run by hand, or by an upload; a stack that was drained is deployed again first."""
        self.played += 1
        if way is DRAINED:
            self.drain("Create")
        if way is not UPLOADED:
            return self.stage.start(request, f"play-{self.played}")
        known = set(self.executions())
        self.upload(request)
        begun = [arn for arn in self.executions() if arn not in known]
        assert len(begun) == 1, f"expected one run of the upload, found {begun}"
        return begun[0]

    def upload(self, request: Document) -> str:
        """Upload a request, whose event comes; returns its key."""
        key = f"{layout.REQUESTS}play-{self.played}-{len(self.keys_below(layout.REQUESTS))}.json"
        answer = aws("s3").put_object(Bucket=BUCKET, Key=key, Body=json.dumps(request).encode())
        uploaded = {"key": key, "etag": answer["ETag"].strip('"'), "sequencer": f"{self.played:016X}"}
        self.stage.tell("StartFromUpload", {"detail": {"object": uploaded, "bucket": {"name": BUCKET}}})
        return key

    @staticmethod
    def keys_below(prefix: str) -> list[str]:
        """Return the keys of all objects whose key begins with `prefix`."""
        return [o["Key"] for o in aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])]

    def executions(self) -> list[str]:
        """Return all executions there have been."""
        pages = aws("stepfunctions").get_paginator("list_executions")
        found = pages.paginate(stateMachineArn=self.stage.machine_arn)
        return [execution["executionArn"] for page in found for execution in page["executions"]]

    def waiting(self, arn: str, stage: str, attempt: int = 1) -> RunRecord | None:
        """Wait until the run waits in a stage; returns its record, None when the run ends, or hangs, before."""

        def there() -> RunRecord | bool | None:
            record = self.stage.record(arn)
            ready = record and record.stage == stage and record.attempt == attempt and record.task_token
            return record if ready and record and record.instance_id else self.status(arn) != "RUNNING"

        found = self.patiently(there)
        return found if isinstance(found, RunRecord) else None

    def go(self, way: Way, arn: str, record: RunRecord) -> None:
        """Let a run that trains go its way."""
        if way in (COMPLETE, UPLOADED):
            self.stage.report(record, 2, progress={"step": 1, "total": 2, "unit": "units"})
            self.stage.complete(record)
        elif way is LOST:
            self.stage.lose(record)
        elif way is ABORTED:
            aws("stepfunctions").stop_execution(executionArn=arn)
        elif way is DEAD_MAN:
            self.fire(record.run_id)
        else:
            self.drain()

    def fire(self, name: str) -> None:
        """Let a dead-man schedule fire: it calls its target, and is deleted then. One that is gone calls nobody."""
        scheduler = aws("scheduler")
        with suppress(scheduler.exceptions.ResourceNotFoundException):
            told = json.loads(scheduler.get_schedule(Name=name, GroupName=GROUP)["Target"]["Input"])
            self.stage.tell("SweepRun", told)
            scheduler.delete_schedule(Name=name, GroupName=GROUP)

    def fire_armed(self, run_id: str = "") -> list[str]:
        """Let all schedules fire that are armed, of one run only when it is given; returns their names."""
        listed = aws("scheduler").list_schedules(GroupName=GROUP)["Schedules"]
        names = [schedule["Name"] for schedule in listed if schedule["Name"].startswith(run_id)]
        for name in names:
            self.fire(name)
        return names

    def drain(self, request_type: str = "Delete") -> None:
        """Let CloudFormation delete the stack, which first calls the drain, or make it."""
        self.stage.tell("DrainStack", {
            "RequestType": request_type, "ResponseURL": self.answer_address, "StackId": "stack", "RequestId": "request",
            "LogicalResourceId": "Drain", "PhysicalResourceId": "drain",
        })  # fmt: skip

    def end(self, arn: str) -> None:
        """Wait for the end of an execution, and deliver what AWS says then: instances ended, the status changed."""
        self.patiently(lambda: self.status(arn) != "RUNNING")
        if self.status(arn) == "RUNNING":
            aws("stepfunctions").stop_execution(executionArn=arn)
        record = self.stage.record(arn)
        for instance in self.instances(record.run_id if record else "none", "terminated"):
            gone = {"instance-id": instance, "state": "terminated"}
            self.stage.tell(
                "ObserveInstance", {"detail-type": "EC2 Instance State-change Notification", "detail": gone}
            )
        said = aws("stepfunctions").describe_execution(executionArn=arn)
        detail = {"executionArn": arn, **{name: said.get(name) for name in ("status", "error", "cause")}}
        self.stage.tell("SweepRun", {"source": "aws.states", "detail": detail})

    def forget(self) -> None:
        """Drop all runs there have been, so that the next play is as quick as the first."""
        self.stage.functions.launches.clear()
        ec2_backends[DEFAULT_ACCOUNT_ID][REGION].reservations.clear()
        for item in aws("dynamodb").scan(TableName="runs")["Items"]:
            aws("dynamodb").delete_item(TableName="runs", Key={"id": item["id"]})

    @staticmethod
    def status(arn: str) -> str:
        """Return the status of an execution."""
        return str(aws("stepfunctions").describe_execution(executionArn=arn)["status"])

    def patiently(self, look: Callable[[], Any]) -> Any:
        """Return the first true value of `look`, None when there is none in time; look when a function has returned."""
        gives_up_at = time.monotonic() + PATIENCE_SECONDS
        returned = self.stage.functions.returned
        while time.monotonic() < gives_up_at:
            returned.clear()
            found = look()
            if found:
                return found
            returned.wait(LOOK_SECONDS)
        return None

    @staticmethod
    def instances(run_id: str, *states: str) -> list[str]:
        """Return the instances of a run, those in certain states only when some are given."""
        pages = aws("ec2").describe_instances(Filters=[{"Name": "tag:RunId", "Values": [run_id]}])
        found = [i for r in pages["Reservations"] for i in r["Instances"]]
        return [i["InstanceId"] for i in found if not states or i["State"]["Name"] in states]

    def wrong(self, way: Way, arn: str) -> list[str]:
        """Return all that is not as it must be after a run that went its way, whatever was disturbed."""
        record = self.stage.record(arn)
        if record is None:
            return [f"no record; the execution is {self.status(arn)}"]
        kept = self.kept(record)
        must = {
            "execution": (self.status(arn), way.status),
            "verdict": (f"{record.status} {record.reason_code}", f"{way.record} {way.reason_code}"),
            "instances launched": (len(self.instances(record.run_id)), 1),
            "left": (self.stage.left_behind(), []),
            "billed still": ([a.instance_id for a in record.attempts if not a.ended_at], []),
            "billed in all": (len(record.attempts), 1),
            **kept,
            "registry": (kept["registry"][0], way.record),
        }
        return [
            f"{what}: expected {right!r}, found {found!r}" for what, (found, right) in must.items() if found != right
        ]

    def kept(self, record: RunRecord) -> dict[str, tuple[Any, Any]]:
        """Return what month, receipt and registry say of a run, each beside what they must say once it has ended."""
        key = {"id": {"S": f"month#{record.run_id[:6]}"}}
        month = aws("dynamodb").get_item(TableName="runs", Key=key)["Item"]
        receipt = self.document(record.prefix + layout.CLEANUP_STATUS)
        entries = {entry["run_id"]: entry["status"] for entry in self.document(layout.REGISTRY).get("runs", [])}
        return {
            "reserved in the month": (record.run_id in month["reserved_usd"]["M"], False),
            "everything gone by the receipt": (receipt.get("everything_gone"), True),
            "schedules by the receipt": (receipt.get("inventory", {}).get("schedules", {}).get("state"), "gone"),
            "registry": (entries.get(record.run_id), record.status),
        }

    @staticmethod
    def document(key: str) -> Document:
        """Return a JSON document of the bucket, empty when it is absent."""
        try:
            return dict(json.loads(aws("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read()))
        except ClientError:
            return {}


@contextmanager
def cloudformation(answers: list[Document]) -> Iterator[str]:
    """Hear what a custom resource answers, as CloudFormation does; gives the address to answer to."""

    class Heard(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            answers.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Heard)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/answer"
    finally:
        server.shutdown()
        server.server_close()
