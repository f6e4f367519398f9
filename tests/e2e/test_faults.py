"""AWS that refuses, throttles or loses its answer in the middle of whole runs, and nets alone. Runs with pytest."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local.aws_faults import ANSWER_LOST
from tests.e2e.conftest import Faulty
from tests.e2e.runner import Ended, Runner, patiently

pytestmark = [pytest.mark.emulator, pytest.mark.slow]

SMALL = {"dataset": "small", "models": ["AutoETS"], "n_windows": 1}
REPLY_LOST = ANSWER_LOST


def instances(runner: Runner, run_id: str) -> list[dict[str, Any]]:
    """Return every instance the run ever had."""
    pages = runner.client("ec2").describe_instances(Filters=[{"Name": "tag:RunId", "Values": [run_id]}])
    return [i for r in pages["Reservations"] for i in r["Instances"]]


def assert_succeeded_once(faulty: Faulty, ended: Ended) -> None:
    """Assert that the fault cost nothing: one instance, one attempt, nothing left, the right verdict."""
    assert (ended.status, ended.error) == ("SUCCEEDED", ""), ended.cause
    assert ended.record is not None
    assert ended.record.status == "completed"
    assert [a.attempt for a in ended.record.attempts] == [1]
    assert len(instances(faulty.runner, ended.record.run_id)) == 1
    faulty.runner.assert_nothing_left(ended.record)


@pytest.mark.parametrize(
    "rules",
    [
        [
            {"service": "scheduler", "operation": "CreateSchedule", "times": 2, **REPLY_LOST},
            {"service": "ec2", "operation": "RunInstances", "times": 3, **REPLY_LOST},
            {"service": "dynamodb", "operation": "UpdateItem", "sequence": {"fail": 1, "pass": 1}, **REPLY_LOST},
            {"service": "stepfunctions", "operation": "SendTaskSuccess", "times": 2, **REPLY_LOST},
            {"service": "s3", "operation": "PutObject", "times": 2, **REPLY_LOST},
        ],
        [
            {"service": "ec2", "operation": "RunInstances", "times": 3, "error": {"code": "RequestLimitExceeded"}},
            {"service": "dynamodb", "operation": "UpdateItem", "times": 6, "error": {"code": "ThrottlingException"}},
            {"service": "s3", "operation": "GetObject", "times": 6, "error": {"code": "SlowDown", "status": 503}},
        ],
        [
            {"service": "stepfunctions", "operation": "SendTaskSuccess", "times": 2, "reset": True},
            {"service": "dynamodb", "operation": "TransactWriteItems", "times": 1, **REPLY_LOST},
        ],
    ],
    ids=["answers lost after their effect", "throttled, then fine", "cut off, then fine"],
)
def test_faults_that_pass_change_nothing_of_the_run(faulty: Faulty, rules: list[dict[str, Any]]) -> None:
    faulty.aws.set(*rules)

    ended = faulty.runner.run(SMALL)

    assert {rule["operation"] for rule in rules} <= set(faulty.aws.fired())
    assert_succeeded_once(faulty, ended)


def test_an_instance_whose_termination_is_refused_is_terminated_in_the_end(
    faulty: Faulty, long_run: dict[str, object]
) -> None:
    """The machine hangs, so it cannot end itself and cleanup has to."""
    refusal = {"code": "UnauthorizedOperation", "status": 403}
    faulty.aws.set({"service": "ec2", "operation": "TerminateInstances", "times": 2, "error": refusal})
    arn = faulty.runner.start({**long_run, "max_attempts": 1})
    faulty.runner.faults.hang(faulty.runner.training(arn).instance_id)

    ended = faulty.runner.finish(arn)

    assert "TerminateInstances" in faulty.aws.fired()
    assert (ended.status, ended.error) == ("FAILED", "HeartbeatLost"), ended.cause
    assert ended.record is not None
    faulty.runner.assert_nothing_left(ended.record)


def test_without_its_dead_man_switch_no_run_launches(faulty: Faulty) -> None:
    refusal = {"code": "AccessDeniedException", "status": 403}
    faulty.aws.set({"service": "scheduler", "operation": "CreateSchedule", "error": refusal})

    ended = faulty.runner.run(SMALL)

    assert (ended.status, ended.error) == ("FAILED", "PermissionMissing")
    assert "CreateSchedule" in ended.cause
    assert "AccessDeniedException" in ended.cause
    assert ended.record is not None
    assert instances(faulty.runner, ended.record.run_id) == []
    faulty.runner.assert_nothing_left(ended.record)


def test_instances_that_cannot_be_listed_for_long_are_ended_all_the_same(faulty: Faulty) -> None:
    arn = faulty.runner.start(SMALL)
    patiently(lambda: (record := faulty.runner.record_of(arn)) and record.stage == "training", "the training")
    faulty.aws.set({
        "service": "ec2", "operation": "DescribeInstances", "times": 12, "error": {"code": "RequestLimitExceeded"},
    })  # fmt: skip

    ended = faulty.runner.finish(arn)

    assert len(faulty.aws.fired()) == 12
    assert_succeeded_once(faulty, ended)


@contextmanager
def deaf(runner: Runner) -> Iterator[None]:
    """Disable every rule of the stack: no report, no loss and no end of an execution is heard of."""
    events = runner.client("events")
    names = [rule["Name"] for rule in events.list_rules()["Rules"] if rule["Name"].startswith("ChronosTraining")]
    assert names
    try:
        for name in names:
            runner.aws("events", "disable-rule", "--name", name)
        yield
    finally:
        for name in names:
            events.enable_rule(Name=name)


@pytest.fixture
def hung(faulty: Faulty, long_run: dict[str, object]) -> Iterator[tuple[str, str]]:
    """Give execution and run id of a run that nobody listens to, its workflow waiting for hours."""
    # The machine's own timer has ten of its minutes more, each a second: it is not to end before all is deaf.
    request = {**long_run, "n_windows": 90, "heartbeat_timeout_seconds": 3600, "max_runtime_minutes": 40}
    arn = faulty.runner.start(request)
    record = patiently(
        lambda: (record := faulty.runner.record_of(arn)) and record.stage == "training" and record, "the training"
    )
    with deaf(faulty.runner):
        yield arn, record.run_id
        faulty.runner.client("stepfunctions").stop_execution(executionArn=arn)


def test_the_dead_man_switch_alone_ends_a_run(faulty: Faulty, hung: tuple[str, str]) -> None:
    arn, run_id = hung
    scheduler = faulty.runner.client("scheduler")
    (listed,) = [s for s in scheduler.list_schedules()["Schedules"] if s["Name"] == run_id]
    armed = scheduler.get_schedule(Name=run_id, GroupName=listed["GroupName"])
    soon = datetime.now(UTC) + timedelta(seconds=2)
    kept = ("Name", "GroupName", "FlexibleTimeWindow", "Target", "ActionAfterCompletion")
    scheduler.update_schedule(
        **{field: armed[field] for field in kept}, ScheduleExpression=f"at({soon:%Y-%m-%dT%H:%M:%S})"
    )

    ended = faulty.runner.finish(arn)

    assert (ended.status, ended.error) == ("ABORTED", "ExecutionTimedOut")
    assert ended.record is not None
    assert (ended.record.status, ended.record.reason_code) == ("failed", "ExecutionTimedOut")
    receipt = faulty.runner.assert_nothing_left(ended.record)
    assert receipt["checked_by"] == "dead_man"
    assert not [name for name in faulty.runner.schedules() if name.startswith(run_id)]


def test_the_machine_s_own_timer_alone_ends_it(faulty: Faulty, hung: tuple[str, str]) -> None:
    arn, run_id = hung
    runner = faulty.runner
    (listed,) = [s for s in runner.client("scheduler").list_schedules()["Schedules"] if s["Name"] == run_id]
    runner.client("scheduler").delete_schedule(Name=run_id, GroupName=listed["GroupName"])
    (instance_id,) = runner.living_instances(run_id)
    runner.faults.hang(instance_id)

    patiently(lambda: not runner.living_instances(run_id), "the machine to end itself")

    assert runner.client("stepfunctions").describe_execution(executionArn=arn)["status"] == "RUNNING"
    gone, *others = instances(runner, run_id)
    assert not others, runner.record_of(arn)
    assert gone["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    volumes = runner.client("ec2").describe_volumes(Filters=[{"Name": "tag:RunId", "Values": [run_id]}])
    assert volumes["Volumes"] == []
