"""Tasks and events that fail on purpose, decided without a server."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ministack.services import stepfunctions

from local import callbacks
from local.call_log import Call, described, read
from local.capacity import CapacityFaults
from local.event_faults import EventFaults
from local.fault_file import FaultFile
from local.task_faults import TaskFaults
from tests.waiting import until

REPORT = {"DetailType": "Object Created", "Detail": "{}"}


@pytest.fixture
def delivered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[EventFaults, list[Any], Path]:
    came: list[Any] = []
    monkeypatch.setattr("ministack.services.eventbridge._dispatch_event", lambda event, _view=None: came.append(event))
    return EventFaults(tmp_path / "events.json"), came, tmp_path / "events.json"


def dispatch(faults: EventFaults, *names: int) -> None:
    for name in names:
        faults.dispatch({**REPORT, "n": name})


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"do": "drop", "times": 1}, [2, 3]),
        ({"do": "double", "times": 1}, [1, 1, 2, 3]),
        ({"do": "delay", "seconds": 0.3, "times": 1}, [2, 3, 1]),
        ({"do": "reorder", "seconds": 0.3, "times": 2}, [2, 3, 1]),
    ],
)
def test_events_go_astray_as_told(delivered: Any, fault: dict[str, Any], expected: list[int]) -> None:
    faults, came, path = delivered
    path.write_text(json.dumps({"Object Created": fault}))

    dispatch(faults, 1)
    if fault["do"] == "double":
        until(lambda: len(came) == 2)
    dispatch(faults, 2, 3)

    until(lambda: len(came) == len(expected))
    time.sleep(0.1)
    assert [event["n"] for event in came] == expected


def test_the_last_event_from_before_comes_again_after_each(delivered: Any) -> None:
    faults, came, path = delivered
    dispatch(faults, 1, 2)
    path.write_text(json.dumps({"Object Created": {"do": "replay"}}))

    dispatch(faults, 3, 4)

    assert [event["n"] for event in came] == [1, 2, 3, 2, 4, 2]
    assert FaultFile(path).met() == ["Object Created"] * 2


@pytest.mark.parametrize(
    "fault", [{"EC2 Instance State-change Notification": {"do": "drop"}}, {"Object Created": {"do": "replay"}}]
)
def test_events_of_another_kind_come_at_once_and_before_the_first_there_is_nothing_to_replay(
    delivered: Any, fault: dict[str, Any]
) -> None:
    faults, came, path = delivered
    path.write_text(json.dumps(fault))

    dispatch(faults, 1)

    assert len(came) == 1
    assert FaultFile(path).met() == []


@pytest.mark.parametrize(("after", "effects"), [(False, 1), (True, 2)])
def test_a_task_fails_as_often_as_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, after: bool, effects: int
) -> None:
    done: list[str] = []
    monkeypatch.setattr(stepfunctions, "_invoke_resource", lambda resource, _: done.append(resource))
    monkeypatch.setattr(callbacks, "state_name", lambda: "Cleanup")
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps({"Cleanup": {"error": "Lambda.TooManyRequestsException", "times": 1, "after": after}}))
    faults = TaskFaults(path)

    with pytest.raises(stepfunctions._ExecutionError) as refused:
        faults.invoke("lambda", {})
    faults.invoke("lambda", {})

    assert refused.value.error == "Lambda.TooManyRequestsException"
    assert len(done) == effects
    assert FaultFile(path).met() == ["Cleanup"]


def test_faults_ordered_anew_have_met_nothing(tmp_path: Path) -> None:
    file = FaultFile(tmp_path / "capacity.json")
    file.order({"*": "InsufficientInstanceCapacity"})
    before = CapacityFaults(tmp_path / "capacity.json").error_for("g4dn.xlarge", "spot", "us-east-1a")
    met = file.met()

    file.order({})

    assert (before, met) == ("InsufficientInstanceCapacity", ["*"])
    assert file.met() == []


def scope(service: str, path: str, agent: str, **headers: str) -> dict[str, Any]:
    signed = f"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host"
    sent = {"authorization": signed, "user-agent": agent, "host": "127.0.0.1:4566", **headers}
    named = [(name.encode(), value.encode()) for name, value in sent.items()]
    return {"method": "POST", "path": path, "query_string": b"", "headers": named}


def test_a_call_is_known_by_its_caller_and_parameters() -> None:
    form = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    body = b"Action=TerminateInstances&Version=2016-11-15&InstanceId.1=i-0123"
    ended = described(scope("ec2", "/", "Boto3/1.43 app/Cleanup", **form), body, 200)
    target = {"x-amz-target": "DynamoDB_20120810.UpdateItem", "content-type": "application/x-amz-json-1.0"}
    asked = json.dumps({"TableName": "runs", "Key": {"id": {"S": "a"}}, "ExpressionAttributeValues": {}}).encode()
    written = described(scope("dynamodb", "/", "Boto3/1.43", **target), asked, 400)
    put = {**scope("s3", "/bucket/phase1/a%20b.json", "aws-cli/1 app/instance"), "method": "PUT"}
    uploaded = described(put, b"content", 200)

    assert ended
    assert (ended.caller, ended.service, ended.operation) == ("lambda:Cleanup", "ec2", "TerminateInstances")
    assert ended.parameters == {"InstanceIds": ["i-0123"]}
    assert written
    assert (written.caller, written.operation, written.status) == ("other", "UpdateItem", 400)
    assert written.parameters == {"TableName": "runs", "Key": {"id": {"S": "a"}}}
    assert uploaded
    assert (uploaded.caller, uploaded.operation) == ("instance", "PutObject")
    assert {name: uploaded.parameters[name] for name in ("Bucket", "Key")} == {
        "Bucket": "bucket", "Key": "phase1/a b.json",
    }  # fmt: skip


def test_a_log_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text('{"at": "t", "caller": "instance", "service": "s3", "operation": "PutObject", "parameters": {}, '
                    '"status": 200}\n')  # fmt: skip

    assert list(read(path)) == [Call("t", "instance", "s3", "PutObject", {}, 200)]
    assert list(read(tmp_path / "none")) == []
