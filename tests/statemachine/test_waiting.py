"""Waiting for capacity on the state machine: it comes, it never comes, a person stops it. On moto's interpreter."""

import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from lambdas.adapters.compute import Compute, LaunchFailed
from lambdas.core import waiting
from tests.statemachine.stage import Stage
from tests.waiting import until

REQUEST = {"dataset": "small", "prediction_length": 3, "n_windows": 1}
ZONES = 2
Short = Callable[[Callable[[], bool]], list[str]]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Short:
    """Return a function that lets EC2 have no capacity as long as `lasts` is true; it returns the tokens asked with."""
    monkeypatch.setattr(waiting, "ROUND_SECONDS", 1)
    launch = Compute.launch

    def begin(lasts: Callable[[], bool]) -> list[str]:
        tokens: list[str] = []

        def refuse(self: Compute, rung: Any, token: str, tags: dict[str, str]) -> Any:
            tokens.append(token)
            if lasts():
                raise LaunchFailed("InsufficientInstanceCapacity", "none here")
            return launch(self, rung, token, tags)

        monkeypatch.setattr(Compute, "launch", refuse)
        return tokens

    return begin


def test_capacity_that_comes_after_the_boot_timeout_is_in_time(stage: Stage, short: Short) -> None:
    """No machine boots while the run waits, so the boot timeout is that of the round that has an instance."""
    comes_at = time.monotonic() + 8
    tokens = short(lambda: time.monotonic() < comes_at)
    arn = stage.start({**REQUEST, "capacity_wait_minutes": 2, "boot_timeout_seconds": 5}, "capacity-comes")
    stage.complete(stage.boot(arn))
    ended = stage.ended(arn)

    assert ended["status"] == "SUCCEEDED", ended
    rounds = stage.entered(arn).count("LaunchInstance")
    assert rounds == stage.entered(arn).count("WaitForCapacity") + 1 >= 3
    assert len(set(tokens)) == len(tokens)
    final = stage.record(arn)
    assert final is not None
    assert len(final.attempts) == 1
    assert len(final.rungs) == ZONES + 1
    assert stage.left_behind() == []


def test_capacity_that_never_comes_is_a_verdict_with_the_time_that_was_waited(stage: Stage, short: Short) -> None:
    tokens = short(lambda: True)
    arn = stage.start({**REQUEST, "capacity_wait_minutes": 0.1}, "capacity-never")
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "CapacityUnavailable")
    rounds = stage.entered(arn).count("LaunchInstance")
    assert rounds >= 2
    assert f"Asked {rounds} times in 0 minutes, from " in ended["cause"]
    assert ended["cause"].count("InsufficientInstanceCapacity") == ZONES
    assert len(set(tokens)) == rounds * ZONES
    assert stage.left_behind() == []


def test_a_run_that_is_stopped_while_it_waits_leaves_nothing_and_asks_no_more(stage: Stage, short: Short) -> None:
    tokens = short(lambda: True)
    arn = stage.start({**REQUEST, "capacity_wait_minutes": 60}, "capacity-abort")
    until(lambda: stage.entered(arn).count("WaitForCapacity") >= 2, "the run to wait", 60)
    boto3.client("stepfunctions").stop_execution(executionArn=arn)
    stage.sweep(arn, "ABORTED")
    asked = len(tokens)
    # moto's Wait state waits on and enters the launch once more.
    stage.ended(arn)

    final = stage.record(arn)
    assert final is not None
    assert (final.status, final.reason_code) == ("aborted", "Aborted")
    assert len(tokens) == asked
    assert stage.left_behind() == []
