"""Executions that are redriven on the embedded cloud, by the aws CLI as a person would. Runs with pytest."""

import pytest

from lambdas.core.records import RunRecord
from tests.e2e.runner import Ended, Runner, patiently

pytestmark = [pytest.mark.emulator, pytest.mark.slow]


# A few minutes of one machine; a second one, or an estimate in its place, would be more.
MOST_USD = 0.1


def redriven(runner: Runner, arn: str) -> Ended:
    """Redrive an execution and return it when it has ended again."""
    before = ends(runner, arn)
    runner.aws("stepfunctions", "redrive-execution", "--execution-arn", arn)
    patiently(lambda: ends(runner, arn) > before, "the redriven execution to end")
    return runner.finish(arn)


def ends(runner: Runner, arn: str) -> int:
    """Return how often an execution has ended."""
    events = runner.aws("stepfunctions", "get-execution-history", "--execution-arn", arn)["events"]
    kinds = ("ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut")
    return sum(event["type"] in kinds for event in events)


def verdict(record: RunRecord | None) -> tuple[str, str, str, int, int]:
    """Return what must not change of a run that has ended; its cost is counted again, with a redrive's transitions."""
    assert record is not None
    assert record.cost_usd < MOST_USD
    return (record.status, record.reason_code, record.cause, record.ended_at, len(record.attempts))


def test_a_run_that_was_stopped_in_its_training_and_redriven_ends_at_once_and_stays_stopped(
    runner: Runner, long_run: dict[str, object]
) -> None:
    # A heartbeat timeout that would be waited out here, would the redriven state wait.
    arn = runner.start({**long_run, "heartbeat_timeout_seconds": 3600})
    runner.training(arn)
    runner.aws("stepfunctions", "stop-execution", "--execution-arn", arn)
    stopped = runner.finish(arn)
    assert stopped.record is not None
    evidence = runner.paths(stopped.record)

    again = redriven(runner, arn)

    assert (again.status, again.error) == ("FAILED", "RunEnded")
    assert "It ended as aborted, Aborted." in again.cause
    assert "Next: Start again" in again.cause
    assert verdict(again.record) == verdict(stopped.record)
    assert runner.paths(stopped.record) == evidence
    runner.assert_nothing_left(stopped.record)


def test_a_run_that_failed_and_is_redriven_fails_again_with_its_own_reason(runner: Runner) -> None:
    failed = runner.run({"dataset": "wrong-column", "models": ["AutoETS"]})
    assert (failed.status, failed.error) == ("FAILED", "DatasetInvalid")

    again = redriven(runner, failed.arn)

    assert (again.status, again.error, again.cause) == (failed.status, failed.error, failed.cause)
    assert verdict(again.record) == verdict(failed.record)
    assert again.record is not None
    runner.assert_nothing_left(again.record)
