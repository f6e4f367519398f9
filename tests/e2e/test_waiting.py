"""Whole runs on the embedded cloud that wait for capacity; its Wait states take a fifth of their time. With pytest."""

import pytest

from lambdas.adapters.compute import LAUNCH_TRIES
from tests.e2e.conftest import NO_CAPACITY
from tests.e2e.runner import Runner, patiently

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

ZONES = 2
RARE = "g4dn.4xlarge"
SMALL = {"dataset": "small", "models": ["AutoETS"], "n_windows": 1}
SHORT = "InsufficientInstanceCapacity"


def entered(runner: Runner, arn: str, state: str) -> int:
    """Return how often an execution has entered a state."""
    events = runner.aws("stepfunctions", "get-execution-history", "--execution-arn", arn)["events"]
    return sum(event.get("stateEnteredEventDetails", {}).get("name") == state for event in events)


def test_capacity_that_comes_in_the_third_round_lets_the_run_succeed(runner: Runner) -> None:
    runner.faults.set_capacity({NO_CAPACITY: SHORT, RARE: {"error": SHORT, "times": 2 * ZONES * LAUNCH_TRIES}})

    ended = runner.run({**SMALL, "instance_types": [RARE], "capacity_wait_minutes": 20})

    assert (ended.status, ended.error) == ("SUCCEEDED", ""), ended.cause
    assert entered(runner, ended.arn, "WaitForCapacity") == 2
    assert ended.record is not None
    assert [attempt.instance_type for attempt in ended.record.attempts] == [RARE]
    assert [line.count(", again 1 times") for line in ended.record.rungs] == [1, 1, 0]
    runner.assert_nothing_left(ended.record)


def test_capacity_that_never_comes_ends_the_run_when_its_wait_is_over(runner: Runner) -> None:
    ended = runner.run({**SMALL, "instance_types": [NO_CAPACITY], "capacity_wait_minutes": 1.1})

    assert (ended.status, ended.error) == ("FAILED", "CapacityUnavailable")
    rounds = entered(runner, ended.arn, "LaunchInstance")
    assert rounds >= 2
    assert f"Asked {rounds} times in " in ended.cause
    assert "(capacity_wait_minutes 1.1)" in ended.cause
    assert ended.cause.count(SHORT) == ZONES
    assert ended.record is not None
    assert ended.record.attempts == ()
    runner.assert_nothing_left(ended.record)


def test_a_run_that_is_stopped_while_it_waits_leaves_nothing(runner: Runner) -> None:
    arn = runner.start({**SMALL, "instance_types": [NO_CAPACITY], "capacity_wait_minutes": 100})
    patiently(lambda: (record := runner.record_of(arn)) and record.status == "waiting", "the run to wait")
    runner.aws("stepfunctions", "stop-execution", "--execution-arn", arn)

    ended = runner.finish(arn)

    assert ended.record is not None
    assert (ended.record.status, ended.record.reason_code) == ("aborted", "Aborted")
    assert ended.record.attempts == ()
    runner.assert_nothing_left(ended.record)
