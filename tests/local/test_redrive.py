"""A redriven execution goes on at the state it ended in, as on AWS; MiniStack alone does not know the action."""

import json

import pytest
from botocore.exceptions import ClientError

from tests.local.bench import Bench, waiting
from tests.waiting import until

pytestmark = pytest.mark.emulator


def redrive(bench: Bench, execution: str) -> None:
    bench.client("stepfunctions").redrive_execution(executionArn=execution)


def entered(bench: Bench, execution: str) -> list[str]:
    events = bench.history(execution)
    return [e["stateEnteredEventDetails"]["name"] for e in events if "stateEnteredEventDetails" in e]


def test_an_aborted_task_is_begun_again_with_its_input_and_a_new_token(bench: Bench) -> None:
    first = {"Type": "Pass", "Result": 7, "ResultPath": "$.seven", "Next": "Wait"}
    execution = bench.start(bench.machine({"First": first, "Wait": waiting(ResultPath="$.answer")}))
    token = bench.token(execution)
    bench.client("stepfunctions").stop_execution(executionArn=execution)

    redrive(bench, execution)
    settled = bench.token(execution, other_than=token)
    bench.client("stepfunctions").send_task_success(taskToken=settled, output='"done"')

    ended = bench.finish(execution)
    output = json.loads(ended["output"])
    assert (ended["status"], output["seven"], output["answer"]) == ("SUCCEEDED", 7, "done")
    assert entered(bench, execution) == ["First", "Wait", "Wait"]
    assert [k for k in bench.kinds(execution) if k.startswith("Execution")] == [
        "ExecutionStarted", "ExecutionAborted", "ExecutionRedriven", "ExecutionSucceeded"
    ]  # fmt: skip


def test_a_fail_state_fails_again_with_the_same_error(bench: Bench) -> None:
    states = {"Choose": {"Type": "Pass", "Next": "No"}, "No": {"Type": "Fail", "Error": "Mine", "Cause": "because"}}
    execution = bench.start(bench.machine(states))
    bench.finish(execution)

    redrive(bench, execution)
    until(lambda: bench.kinds(execution).count("ExecutionFailed") == 2)

    assert entered(bench, execution) == ["Choose", "No", "No"]
    assert bench.describe(execution)["error"] == "Mine"


def test_the_execution_s_own_timeout_begins_anew(bench: Bench) -> None:
    execution = bench.start(bench.machine({"Wait": waiting()}, TimeoutSeconds=1))
    assert bench.finish(execution)["status"] == "TIMED_OUT"

    redrive(bench, execution)

    until(lambda: bench.kinds(execution).count("ExecutionTimedOut") == 2)
    assert entered(bench, execution) == ["Wait", "Wait"]


def test_the_stopped_attempt_does_not_go_on_beside_the_new_one(bench: Bench) -> None:
    """A Lambda is not stopped with its execution; what it answers belongs to nobody."""
    slow = bench.function("import time\ndef handler(event, context): time.sleep(1.5); return 1")
    task = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "Parameters": {"FunctionName": slow}}
    execution = bench.start(bench.machine({"Slow": {**task, "Next": "End"}, "End": {"Type": "Succeed"}}))
    until(lambda: entered(bench, execution) == ["Slow"])
    bench.client("stepfunctions").stop_execution(executionArn=execution)

    redrive(bench, execution)

    until(lambda: bench.describe(execution)["status"] == "SUCCEEDED")
    assert entered(bench, execution) == ["Slow", "Slow", "End"]


def test_what_runs_or_succeeded_or_is_unknown_cannot_be_redriven(bench: Bench) -> None:
    execution = bench.start(bench.machine({"Wait": waiting()}))
    token = bench.token(execution)
    for _ in range(2):
        with pytest.raises(ClientError) as refused:
            redrive(bench, execution)
        assert refused.value.response["Error"]["Code"] == "ExecutionNotRedrivable"
        if bench.describe(execution)["status"] == "RUNNING":
            bench.client("stepfunctions").send_task_success(taskToken=token, output="{}")
            bench.finish(execution)
    with pytest.raises(ClientError) as refused:
        redrive(bench, execution + "0")
    assert refused.value.response["Error"]["Code"] == "ExecutionDoesNotExist"


def test_ministack_still_does_not_know_the_action(plain: Bench) -> None:
    execution = plain.start(plain.machine({"No": {"Type": "Fail", "Error": "Mine"}}))
    plain.finish(execution)
    with pytest.raises(ClientError) as refused:
        redrive(plain, execution)
    assert refused.value.response["Error"]["Code"] == "InvalidAction"
