"""Lambda errors carry the name of their class, as on AWS; MiniStack alone names them all the same."""

import json

import pytest

from tests.local.bench import Bench

pytestmark = pytest.mark.emulator

SOURCE = """
class NoCapacity(Exception):
    pass


def handler(event, context):
    if event.get("fail"):
        raise NoCapacity("line one\\nline two")
    return event
"""


def invoke(bench: Bench, name: str, **event: object) -> dict:
    answer = bench.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
    return {"error": answer.get("FunctionError"), **json.loads(answer["Payload"].read())}


def test_error_has_the_name_of_its_class(bench: Bench) -> None:
    body = invoke(bench, bench.function(SOURCE), fail=True)
    assert (body["errorType"], body["errorMessage"]) == ("NoCapacity", "line one\nline two")
    assert any("raise NoCapacity" in line for line in body["stackTrace"])


def test_error_is_caught_by_its_class_name(bench: Bench) -> None:
    name = bench.function(SOURCE)
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke",
        "Parameters": {"FunctionName": name, "Payload": {"fail": True}},
        "Catch": [{"ErrorEquals": ["NoCapacity"], "Next": "Caught"}],
        "Next": "Missed",
    }
    caught = {"Type": "Pass", "Result": "caught", "End": True}
    states = {"Invoke": task, "Caught": caught, "Missed": {"Type": "Fail"}}
    assert bench.finish(bench.start(bench.machine(states)))["output"] == '"caught"'


def test_success_after_an_error_on_the_same_worker_is_a_success(bench: Bench) -> None:
    name = bench.function(SOURCE)
    invoke(bench, name, fail=True)
    assert invoke(bench, name, value=1) == {"error": None, "value": 1}


def test_ministack_still_gives_every_error_one_name(plain: Bench) -> None:
    assert invoke(plain, plain.function(SOURCE), fail=True)["errorType"] == "Runtime.HandlerError"
