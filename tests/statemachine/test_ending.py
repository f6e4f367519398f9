"""How runs end on the state machine: cleanup, leftovers, aborts, refusals, the dead man. On moto's interpreter."""

from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lambdas import cleanup
from lambdas.adapters.compute import Compute
from lambdas.core import inventory
from lambdas.core.inventory import Inventory, Resource
from tests.lambda_context import Context
from tests.statemachine.stage import Stage

REQUEST = {"dataset": "small", "prediction_length": 3, "n_windows": 1}
# moto lets a waiting task wait on after StopExecution and ends as the task does: here only what the controller does
# about an abort is looked at, tests/e2e looks at the execution. The tasks end soon, or moto would wait for them.
IMPATIENT = {**REQUEST, "boot_timeout_seconds": 8, "heartbeat_timeout_seconds": 6}


def test_cleanup_is_repeated_until_the_inventory_is_empty(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(Compute, "inventory", _slow_inventory(Compute.inventory, rounds=2))
    arn = stage.start(REQUEST, "cleanup-repeated")
    stage.complete(stage.boot(arn))
    ended = stage.ended(arn)

    assert ended["status"] == "SUCCEEDED"
    assert stage.entered(arn).count("WaitForDeletion") >= 2
    assert stage.left_behind() == []


def _slow_inventory(real: Any, rounds: int) -> Any:
    left = [rounds]

    def slow(self: Compute, *asked: Any) -> Inventory:
        found: Inventory = real(self, *asked)
        if left[0]:
            left[0] -= 1
            return replace(found, resources=(*found.resources, Resource("volumes", "vol-1", "in-use", False)))
        return found

    return slow


def test_leftovers_never_count_as_success(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(inventory, "MOST_ROUNDS", 2)
    monkeypatch.setattr(Compute, "inventory", _slow_inventory(Compute.inventory, rounds=1000))
    arn = stage.start(REQUEST, "leftovers")
    record = stage.boot(arn)
    stage.complete(record)
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "CleanupIncomplete")
    assert "vol-1" in ended["cause"]
    assert stage.left_behind() == [record.run_id], "the dead-man schedule must stay armed"


def test_cleanup_that_cannot_run_is_no_success(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise ClientError({"Error": {"Code": "UnauthorizedOperation", "Message": "no"}}, "DescribeInstances")

    arn = stage.start(REQUEST, "cleanup-refused")
    record = stage.boot(arn)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Compute, "inventory", refuse)
        patch.setattr("time.sleep", _hurried())
        stage.complete(record)
        ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "CleanupIncomplete")
    assert "AssumeLeftovers" in stage.entered(arn)
    # The next net: the status-change event.
    stage.sweep(arn, "FAILED")
    assert stage.left_behind() == []


def _hurried() -> Any:
    import time  # noqa: PLC0415

    sleep = time.sleep
    return lambda seconds: sleep(min(seconds, 0.05))


@pytest.mark.parametrize("stage_name", ["boot", "training"])
def test_an_aborted_execution_is_cleaned_up_by_its_event(stage: Stage, stage_name: str) -> None:
    arn = stage.start(IMPATIENT, f"abort-{stage_name}")
    if stage_name == "boot":
        stage.waiting(arn, "boot")
    else:
        stage.boot(arn)
    boto3.client("stepfunctions").stop_execution(executionArn=arn)
    stage.sweep(arn, "ABORTED")

    final = stage.record(arn)
    assert final is not None
    assert (final.status, final.reason_code) == ("aborted", "Aborted")
    assert stage.left_behind() == []


@pytest.mark.parametrize(
    ("request_", "code", "field"),
    [
        ({"modles": []}, "RequestInvalid", "modles"),
        (["not an object"], "RequestInvalid", "expected object"),
        ({"n_windows": 0}, "RequestInvalid", "n_windows"),
        ({"dataset": "absent"}, "DatasetNotFound", "datasets/absent/"),
        ({"max_cost_usd": 0.1}, "CostCapTooLow", "max_cost_usd"),
        ({"chronos_weights": "absent"}, "ModelWeightsMissing", "cached-models/absent/"),
    ],
)
def test_a_refused_request_launches_nothing_and_says_why(stage: Stage, request_: dict, code: str, field: str) -> None:
    arn = stage.start(request_, f"refused-{code}-{field}"[:60].replace("/", "-"))
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", code)
    assert field in ended["cause"]
    assert "LaunchInstance" not in stage.entered(arn)
    assert stage.record(arn) is None
    assert stage.left_behind() == []


def test_the_dead_man_switch_alone_ends_a_run(stage: Stage) -> None:
    from lambdas import sweep_run  # noqa: PLC0415

    arn = stage.start(IMPATIENT, "dead-man")
    record = stage.boot(arn)
    sweep_run.handler({"source": "dead_man", "run_id": record.run_id}, Context())
    ended = stage.ended(arn)

    assert ended["status"] != "SUCCEEDED"
    final = stage.record(arn)
    assert final is not None
    assert (final.status, final.reason_code) == ("failed", "ExecutionTimedOut")
    assert stage.left_behind() == []
