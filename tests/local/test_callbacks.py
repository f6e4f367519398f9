"""Step Functions tasks as AWS runs them, and what MiniStack does without the piece."""

import json
import time

import pytest
from botocore.exceptions import ClientError

from tests.local.bench import Bench, waiting
from tests.waiting import until

pytestmark = pytest.mark.emulator


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return error.value.response["Error"]["Code"]


def settle(bench: Bench, token: str, **output: object) -> None:
    bench.client("stepfunctions").send_task_success(taskToken=token, output=json.dumps(output))


def test_settled_task_ends_the_state_with_the_output(bench: Bench) -> None:
    execution = bench.start(bench.machine({"Wait": waiting()}))
    settle(bench, bench.token(execution), answer=42)
    assert json.loads(bench.finish(execution)["output"]) == {"answer": 42}
    assert [kind for kind in bench.kinds(execution) if kind.startswith("Task") and "State" not in kind] == [
        "TaskScheduled", "TaskStarted", "TaskSubmitted", "TaskSucceeded"
    ]  # fmt: skip


def test_missed_heartbeat_is_states_timeout(bench: Bench) -> None:
    machine = bench.machine({"Wait": waiting(HeartbeatSecondsPath="$.silence", TimeoutSeconds=60)})
    execution = bench.start(machine, {"silence": 1})
    assert bench.finish(execution)["error"] == "States.Timeout"
    assert "TaskTimedOut" in bench.kinds(execution)


def test_heartbeats_keep_a_task_alive_but_do_not_extend_its_timeout(bench: Bench) -> None:
    begun = time.monotonic()
    machine = bench.machine({"Wait": waiting(HeartbeatSeconds=1, TimeoutSecondsPath="$.limit")})
    execution = bench.start(machine, {"limit": 3})
    token = bench.token(execution)
    while bench.describe(execution)["status"] == "RUNNING" and time.monotonic() < begun + 10:
        try:
            bench.client("stepfunctions").send_task_heartbeat(taskToken=token)
        except bench.client("stepfunctions").exceptions.TaskTimedOut:
            break
        time.sleep(0.3)
    assert 2.5 < time.monotonic() - begun < 5
    assert bench.finish(execution)["error"] == "States.Timeout"


def test_path_without_a_positive_integer_is_states_runtime_and_not_caught(bench: Bench) -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Never"}]
    states = {"Wait": waiting(TimeoutSecondsPath="$.limit", Catch=catch), "Never": {"Type": "Succeed"}}
    described = bench.finish(bench.start(bench.machine(states), {"limit": "soon"}))
    assert (described["status"], described["error"]) == ("FAILED", "States.Runtime")
    assert "TimeoutSecondsPath" in described["cause"]


def start_broken(bench: Bench) -> str:
    name = bench.function("class Broken(Exception): pass\ndef handler(event, context): raise Broken('no')")
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
        "Parameters": {"FunctionName": name, "Payload": {"token.$": "$$.Task.Token"}},
        "TimeoutSeconds": 20,
        "End": True,
    }
    return bench.start(bench.machine({"Invoke": task}))


def test_failing_lambda_fails_the_callback_task_with_its_error_type(bench: Bench) -> None:
    described = bench.finish(start_broken(bench))
    assert described["error"] == "Broken"
    assert "output" not in described
    assert json.loads(described["cause"])["errorMessage"] == "no"


def test_second_settlement_is_refused_as_timed_out(bench: Bench) -> None:
    execution = bench.start(bench.machine({"Wait": waiting()}))
    token = bench.token(execution)
    settle(bench, token)
    with pytest.raises(ClientError) as refused:
        settle(bench, token)
    assert code_of(refused) == "TaskTimedOut"
    bench.finish(execution)
    with pytest.raises(ClientError) as refused:
        bench.client("stepfunctions").send_task_failure(taskToken=token)
    assert code_of(refused) == "TaskTimedOut"


@pytest.mark.parametrize(
    ("token", "code"),
    [("nonsense", "InvalidToken"), ("01234567-0123-0123-0123-0123456789ab", "TaskDoesNotExist")],
)
def test_unknown_token_is_refused(bench: Bench, token: str, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        settle(bench, token)
    assert code_of(refused) == code


def test_output_that_is_not_json_is_refused_and_the_task_goes_on(bench: Bench) -> None:
    execution = bench.start(bench.machine({"Wait": waiting()}))
    token = bench.token(execution)
    with pytest.raises(ClientError) as refused:
        bench.client("stepfunctions").send_task_success(taskToken=token, output="{")
    assert code_of(refused) == "InvalidOutput"
    settle(bench, token)
    assert bench.finish(execution)["status"] == "SUCCEEDED"


def test_stopped_execution_wakes_runs_no_further_state_and_voids_its_token(bench: Bench) -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Never"}]
    states = {"Wait": waiting(Catch=catch, Next="Never"), "Never": {"Type": "Pass", "End": True}}
    states["Wait"].pop("End")
    execution = bench.start(bench.machine(states))
    token = bench.token(execution)
    bench.client("stepfunctions").stop_execution(executionArn=execution, error="Mine", cause="because")
    with pytest.raises(ClientError) as refused:
        settle(bench, token)
    assert code_of(refused) == "TaskTimedOut"
    time.sleep(0.5)
    assert bench.describe(execution)["status"] == "ABORTED"
    assert bench.kinds(execution)[-1] == "ExecutionAborted"
    assert "PassStateEntered" not in bench.kinds(execution)


def test_stopped_execution_leaves_a_wait_state_at_once(bench: Bench) -> None:
    states = {"Wait": {"Type": "Wait", "Seconds": 1, "Next": "After"}, "After": {"Type": "Pass", "End": True}}
    execution = bench.start(bench.machine(states))
    until(lambda: "WaitStateEntered" in bench.kinds(execution))
    bench.client("stepfunctions").stop_execution(executionArn=execution)
    time.sleep(1.5)
    assert bench.kinds(execution)[-1] == "ExecutionAborted"


def test_execution_timeout_ends_it_as_timed_out_with_an_event(bench: Bench) -> None:
    queue = bench.listen("aws.states")
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Never"}]
    states = {"Wait": waiting(Catch=catch), "Never": {"Type": "Succeed"}}
    execution = bench.start(bench.machine(states, TimeoutSeconds=1))
    assert bench.finish(execution)["status"] == "TIMED_OUT"
    assert bench.kinds(execution)[-1] == "ExecutionTimedOut"

    def statuses(events: list[dict]) -> list[str]:
        return [e["detail"]["status"] for e in events if e["detail"]["executionArn"] == execution]

    assert statuses(bench.heard(queue, lambda events: "TIMED_OUT" in statuses(events))) == ["RUNNING", "TIMED_OUT"]


def test_each_retry_has_its_own_token(bench: Bench) -> None:
    retry = [{"ErrorEquals": ["Again"], "MaxAttempts": 1, "IntervalSeconds": 1}]
    execution = bench.start(bench.machine({"Wait": waiting(Retry=retry)}))
    first = bench.token(execution)
    bench.client("stepfunctions").send_task_failure(taskToken=first, error="Again")
    second = bench.token(execution, other_than=first)
    with pytest.raises(ClientError) as refused:
        settle(bench, first)
    assert code_of(refused) == "TaskTimedOut"
    settle(bench, second)
    assert bench.finish(execution)["status"] == "SUCCEEDED"


def test_parallel_callbacks_have_their_own_tokens(bench: Bench) -> None:
    def branch(suffix: str) -> dict:
        state = waiting()
        state["Parameters"]["Item"]["id"] = {"S.$": f"States.Format('{{}}{suffix}', $.id)"}
        return {"StartAt": suffix, "States": {suffix: state}}

    parallel = {"Type": "Parallel", "Branches": [branch("A"), branch("B")], "End": True}
    execution = bench.start(bench.machine({"Both": parallel}))
    stem = json.loads(bench.describe(execution)["input"])["id"]

    def token(suffix: str) -> str:
        key = {"id": {"S": stem + suffix}}
        found = until(lambda: bench.client("dynamodb").get_item(TableName="tokens", Key=key).get("Item"))
        return found["token"]["S"]

    settle(bench, token("B"), name="b")
    settle(bench, token("A"), name="a")
    assert json.loads(bench.finish(execution)["output"]) == [{"name": "a"}, {"name": "b"}]


def test_starting_the_same_twice_while_it_runs_is_one_execution(bench: Bench) -> None:
    machine = bench.machine({"Wait": waiting()})
    first = bench.start(machine, {"id": "same"}, name="once")
    assert bench.start(machine, {"id": "same"}, name="once") == first
    with pytest.raises(ClientError) as refused:
        bench.start(machine, {"id": "other"}, name="once")
    assert code_of(refused) == "ExecutionAlreadyExists"
    settle(bench, bench.token(first))
    bench.finish(first)
    with pytest.raises(ClientError) as refused:
        bench.start(machine, {"id": "same"}, name="once")
    assert code_of(refused) == "ExecutionAlreadyExists"


def test_ministack_still_waits_through_timeouts_and_failing_lambdas(plain: Bench) -> None:
    heartbeat = plain.start(plain.machine({"Wait": waiting(HeartbeatSeconds=1)}))
    path = plain.start(plain.machine({"Wait": waiting(TimeoutSecondsPath="$.limit")}), {"limit": 1})
    execution = plain.start(plain.machine({"Wait": waiting()}, TimeoutSeconds=1))
    broken = start_broken(plain)
    time.sleep(2.5)
    assert [plain.describe(arn)["status"] for arn in (heartbeat, path, execution, broken)] == ["RUNNING"] * 4


def test_ministack_still_settles_tokens_of_stopped_executions(plain: Bench) -> None:
    execution = plain.start(plain.machine({"Wait": waiting()}))
    token = plain.token(execution)
    plain.client("stepfunctions").stop_execution(executionArn=execution)
    settle(plain, token)


def test_ministack_still_refuses_to_start_the_same_twice(plain: Bench) -> None:
    machine = plain.machine({"Wait": waiting()})
    plain.start(machine, {"id": "same"}, name="once")
    with pytest.raises(ClientError) as refused:
        plain.start(machine, {"id": "same"}, name="once")
    assert code_of(refused) == "ExecutionAlreadyExists"
