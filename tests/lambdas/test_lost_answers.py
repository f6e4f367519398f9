"""Answers of AWS that are lost, late, double or unclear, and what the controller makes of them. Runs on moto."""

import socket
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from contracts.reasons import CapacityUnavailable, LaunchRefused, PermissionMissing, explain
from lambdas import accept_run, await_training, cleanup, launch_instance, observe_instance, record_run, sweep_run
from lambdas.adapters import clients, runs_table
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.compute import Compute
from lambdas.adapters.runs_table import RunsTable, Superseded
from lambdas.core.budget import Month
from lambdas.core.ladder import Rung
from lambdas.flows import cleaning, launching

NO_CAPACITY = "InsufficientInstanceCapacity"
RUN_ID = "20261123-180000"


class ThrottlingException(ClientError):
    """As botocore makes them, one class for each error that a service models."""


@pytest.fixture
def launch(world, event, monkeypatch):
    """Return a function that calls LaunchInstance; its pauses are none."""
    monkeypatch.setattr(launching, "POLL_SECONDS", 0.0)
    return lambda **changes: launch_instance.handler({**event("state_launch_instance"), **changes}, world.context)


def lose_answers(world, count):
    """Let EC2 launch and lose its answer, `count` times."""
    real, left = type(world.ec2).run_instances, [None] * count

    def run_instances(**given):
        answer = real(world.ec2, **given)
        if left:
            left.pop()
            raise ConnectionClosedError(endpoint_url="https://ec2")
        return answer

    world.ec2.run_instances = run_instances


@pytest.fixture
def broken_off():
    """Give the address of a server that answers 404 and breaks off in the error's body."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 300\r\n\r\n<")

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_an_error_whose_body_breaks_off_has_the_name_that_the_workflow_repeats(broken_off):
    config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    s3 = boto3.client("s3", endpoint_url=broken_off, region_name="us-east-1", config=config, **keys)

    @clients.repeatable
    def handler(_event, _context):
        s3.get_object(Bucket="bucket", Key="absent")

    with pytest.raises(AwsUnavailable, match="Connection broken"):
        handler({}, None)


def test_a_launch_whose_answer_is_lost_is_asked_for_again_with_its_own_token(world, launch):
    world.register()
    lose_answers(world, 2)

    launch()

    assert len({asked["ClientToken"] for asked in world.ec2.launches}) == 1
    assert world.instances() == [world.load().instance_id]


@pytest.mark.parametrize("code", ["InternalError", "RequestLimitExceeded", "Unavailable"])
def test_an_unclear_answer_never_leads_to_the_next_rung(world, launch, code):
    world.register()
    world.ec2.refusals = [code, code]

    launch()

    assert len({asked["SubnetId"] for asked in world.ec2.launches}) == 1
    assert len(world.instances()) == 1


def test_a_launch_that_stays_unclear_is_left_to_the_next_call_of_the_state(world, launch, monkeypatch):
    world.register()
    lose_answers(world, 1)
    monkeypatch.setattr(launching, "WALK_SECONDS", -1)

    with pytest.raises(AwsUnavailable, match="expected an instance or a refusal, found NoAnswer"):
        launch()

    # The instance exists, so a cleanup that comes now has to wait for it.
    assert world.load().rung_at > world.load().launch_ended_at
    assert cleaning.find(world.cloud, world.load()).unseen == ("a launch of attempt 1 in flight",)
    launch(task_token="second")
    assert world.instances() == [world.load().instance_id]


def test_after_a_function_that_died_a_rung_that_refused_before_gives_no_second_instance(world, launch, monkeypatch):
    world.register()
    world.ec2.refusals = [NO_CAPACITY]
    with monkeypatch.context() as patch:
        patch.setattr(launching, "_record", lambda *_: pytest.fail("the function dies here"))
        with pytest.raises(pytest.fail.Exception):
            launch()

    # The first zone has capacity now; the second one gave the instance that nobody has recorded.
    launch(task_token="second")

    assert len(world.instances()) == 1
    assert world.load().attempts[0].zone == "us-east-1b"


def test_two_calls_at_once_walk_one_ladder(world, launch):
    world.register()
    world.ec2.refusals = [NO_CAPACITY]
    asked = []

    def second_call_begins():
        asked.append(None)
        if len(asked) == 1:
            record = world.load()
            launching.begin(world.cloud, record, record.attempt, "second")

    world.ec2.on_launch = second_call_begins

    with pytest.raises(LaunchRefused):
        launch(task_token="first")

    assert len(world.ec2.launches) == 1, "the first call goes on although another one has taken over"


def test_a_late_second_call_of_the_launch_leaves_the_waiting_state_its_token(world, launch):
    world.launch(world.register(), stage="training", task_token="token-of-training")

    with pytest.raises(LaunchRefused):
        launch(task_token="late")

    assert world.load().task_token == "token-of-training"
    assert world.load().stage == "training"


def test_a_second_instance_of_the_attempt_is_ended_once_training_is_awaited(world, event):
    record = world.launch(world.register(), stage="boot", seq=1)
    tags = launching._tags(world.cloud, record.with_changes({"launch_started_at": world.clock.now}))
    rung = Rung("spot", "g4dn.xlarge", world.cloud.settings.subnet_ids[1])
    second = world.cloud.compute.launch(rung, "another-token", tags).instance_id

    await_training.handler(event("state_await_training"), world.context)

    assert world.instance_state(second) == "terminated"
    assert world.instance_state(record.instance_id) == "running"
    billed = {a.instance_id: (a.instance_type, a.ended_at > 0) for a in world.load().attempts}
    assert billed == {record.instance_id: ("g4dn.2xlarge", False), second: ("g4dn.xlarge", True)}


def test_an_instance_that_reported_before_it_was_recorded_is_billed(world, event):
    record = world.launch(
        world.register(), stage="boot", seq=1, attempts=(), rung_at=world.clock.now, launch_ended_at=0
    )

    await_training.handler(event("state_await_training"), world.context)

    assert [a.instance_id for a in world.load().attempts] == [record.instance_id]
    assert cleaning.find(world.cloud, world.load()).unseen == (), "cleanup would wait for a launch that is over"
    assert world.instance_state(record.instance_id) == "running"


def test_an_instance_that_nobody_recorded_is_billed_when_it_is_cleaned_up(world, event, monkeypatch):
    record = world.launch(world.register(), attempts=(), instance_id="")
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 5)

    cleanup.handler(event("state_cleanup"), world.context)

    (billed,) = world.load().attempts
    assert (billed.attempt, billed.instance_type, billed.ended_at) == (1, "g4dn.2xlarge", world.clock.now)
    assert world.instance_state(billed.instance_id) == "terminated"
    assert record.attempts == ()


def test_awaiting_training_does_not_fail_because_instances_cannot_be_listed(world, event, monkeypatch):
    world.launch(world.register(), stage="boot", seq=1)
    refusal = ClientError({"Error": {"Code": "RequestLimitExceeded", "Message": ""}}, "DescribeInstances")

    def refuse(self, run_id):
        raise refusal

    monkeypatch.setattr(Compute, "alive", refuse)

    await_training.handler(event("state_await_training"), world.context)

    assert world.load().stage == "training"


def test_the_next_attempt_waits_until_the_last_instance_no_longer_counts(world, launch, monkeypatch):
    world.launch(world.register())
    ending = [["old"], ["old"], []]
    real = Compute.alive
    seen = []

    def alive(self, run_id):
        found = real(self, run_id)
        old = ending.pop(0) if ending else []
        seen.append((bool(old), len(world.ec2.launches)))
        return [*found, *(world.load().attempts[0] for _ in old)]

    monkeypatch.setattr(Compute, "alive", alive)
    before = len(world.ec2.launches)

    launch(attempt=2)

    assert [launches for waiting, launches in seen if waiting] == [before, before]
    assert len(seen) == 3


def test_the_machine_s_own_timer_ends_with_the_run_s_deadline_also_in_a_late_attempt(world, launch):
    world.launch(world.register())
    world.clock.now += 3600

    launch(attempt=2)

    tags = {t["Key"]: t["Value"] for t in world.ec2.launches[-1]["TagSpecifications"][0]["Tags"]}
    assert int(tags["MaxMinutes"]) == 120 - 61 + launching.SHUTDOWN_SLACK_MINUTES


class LosesAnswers:
    """DynamoDB whose updates take effect and whose answers are lost, so that each is done again."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def update_item(self, **given):
        self._real.update_item(**given)
        return self._real.update_item(**given)

    def transact_write_items(self, **given):
        if "Update" in given["TransactItems"][0]:
            self._real.transact_write_items(**given)
        return self._real.transact_write_items(**given)


@pytest.fixture
def forgetful(monkeypatch, world):
    """Let every update of the table be done twice."""
    real = clients.client
    monkeypatch.setattr(
        runs_table, "client", lambda service: LosesAnswers(real(service)) if service == "dynamodb" else real(service)
    )


def test_a_verdict_whose_answer_was_lost_keeps_its_metrics_and_registry(world, event, forgetful, capsys):
    world.launch(world.register())

    record_run.handler(event("state_record_run"), world.context)

    assert world.load().status == "completed"
    assert '"RunsCompleted":[1.0]' in capsys.readouterr().out.replace(" ", "")
    assert world.document("control_registry.json")["runs"][0]["status"] == "completed"


def test_a_repeated_record_run_counts_the_run_once(world, event, capsys):
    world.launch(world.register())
    record_run.handler(event("state_record_run"), world.context)
    world.clock.now += 2
    record_run.handler(event("state_record_run"), world.context)

    assert capsys.readouterr().out.replace(" ", "").count('"RunsCompleted":[1.0]') == 1


def test_a_whole_launch_survives_updates_that_are_done_twice(world, launch, forgetful):
    world.register()
    launch()

    assert world.instances() == [world.load().instance_id]
    cleaning.clean(world.cloud, world.load(), "state_machine", 5)
    assert world.instance_state(world.load().instance_id) == "terminated"


def test_a_registration_cancelled_by_throttling_is_not_a_taken_run_id(world, monkeypatch):
    record = world.register()
    response = {
        "Error": {"Code": "TransactionCanceledException", "Message": ""},
        "CancellationReasons": [{"Code": "ThrottlingError"}, {"Code": "None"}],
    }

    class Throttled:
        def transact_write_items(self, **_):
            raise ClientError(response, "TransactWriteItems")

    monkeypatch.setattr(runs_table, "client", lambda _service: Throttled())

    with pytest.raises(ClientError):
        RunsTable("runs").register(record, Month("202611"))


@pytest.mark.parametrize("handler", [accept_run, launch_instance, await_training])
@pytest.mark.parametrize(
    "problem",
    [
        ThrottlingException({"Error": {"Code": "ThrottlingException", "Message": ""}}, "UpdateItem"),
        ReadTimeoutError(endpoint_url="https://dynamodb"),
        ConnectionClosedError(endpoint_url="https://s3"),
    ],
    ids=["an error that the service models", "no answer in time", "connection closed"],
)
def test_whatever_botocore_calls_it_the_workflow_sees_one_name_that_it_repeats(
    world, event, monkeypatch, handler, problem
):
    def fail(self, *_):
        raise problem

    monkeypatch.setattr(RunsTable, "load", fail)
    monkeypatch.setattr(RunsTable, "of_execution", fail)
    name = handler.__name__.removeprefix("lambdas.")

    with pytest.raises(AwsUnavailable, match=type(problem).__name__):
        handler.handler(event(f"state_{name}"), world.context)


@pytest.mark.parametrize("handler", [accept_run, launch_instance, await_training])
def test_what_is_refused_for_a_permission_has_a_name_of_its_own(world, event, monkeypatch, handler):
    refusal = {"Code": "AccessDeniedException", "Message": "User: arn:aws:sts::1:assumed-role/R/s is not authorized to "
               "perform: dynamodb:GetItem on resource: t"}  # fmt: skip

    def refuse(self, *_):
        raise ClientError({"Error": refusal}, "GetItem")

    monkeypatch.setattr(RunsTable, "load", refuse)
    monkeypatch.setattr(RunsTable, "of_execution", refuse)
    name = handler.__name__.removeprefix("lambdas.")

    with pytest.raises(PermissionMissing, match=r"GetItem \(dynamodb:GetItem\) was refused to the role R: Access"):
        handler.handler(event(f"state_{name}"), world.context)


def test_a_sweep_by_time_that_fails_at_once_has_armed_the_next_one(world, event, monkeypatch):
    record = world.launch(world.register())
    world.cloud.schedules.arm(record.run_id, record.deadline_at)

    def fail(self, run_id):
        raise ClientError({"Error": {"Code": "RequestLimitExceeded", "Message": ""}}, "DescribeInstances")

    monkeypatch.setattr(Compute, "inventory", fail)

    with pytest.raises(ClientError):
        sweep_run.handler(event("dead_man_switch"), world.context)

    # The one that fired is about to be deleted, with whatever it was moved to.
    assert f"{RUN_ID}.again" in world.cloud.schedules.armed(RUN_ID)
    world.cloud.schedules.disarm(RUN_ID)
    with pytest.raises(ClientError):
        sweep_run.handler({**event("dead_man_switch"), "schedule": f"{RUN_ID}.again"}, world.context)
    assert RUN_ID in world.cloud.schedules.armed(RUN_ID)


def test_a_sweep_that_finds_something_after_the_end_is_not_the_only_net(world, event, monkeypatch):
    record = world.launch(world.register())
    now = world.clock.now
    world.cloud.runs.note(record, {"closed_at": now, "ended_at": now, "status": "failed"})

    def fail(self, resource):
        raise ConnectionClosedError(endpoint_url="https://ec2")

    monkeypatch.setattr(Compute, "delete", fail)

    with pytest.raises(ConnectionClosedError):
        sweep_run.handler(event("stepfunctions_execution_failed"), world.context)

    assert world.armed()


def test_a_sweep_by_time_leaves_neither_schedule(world, event):
    record = world.launch(world.register())
    world.cloud.schedules.arm(record.run_id, record.deadline_at)

    sweep_run.handler(event("dead_man_switch"), world.context)

    assert not world.armed()
    assert world.instance_state(record.instance_id) == "terminated"


def test_a_switch_is_never_armed_for_the_past(world, event):
    """A redrive may call AcceptRun again days later, for a run that nobody has closed."""
    world.put_inputs()
    accept_run.handler({**event("state_accept_run"), "request": {}}, world.context)
    world.clock.now = 1795456800 + 7 * 86400

    accept_run.handler({**event("state_accept_run"), "request": {}}, world.context)

    found = clients.client("scheduler").get_schedule(Name=RUN_ID, GroupName="dead-men")
    assert found["ScheduleExpression"] == "at(2026-11-30T18:01:00)"


def test_an_execution_that_the_switch_stopped_was_not_aborted_by_a_person(world, event):
    world.launch(world.register())
    stopped = event("stepfunctions_execution_aborted")
    stopped["detail"] |= {"error": "ExecutionTimedOut", "cause": explain("ExecutionTimedOut", "")}

    sweep_run.handler(stopped, world.context)

    assert (world.load().status, world.load().reason_code) == ("failed", "ExecutionTimedOut")


def test_an_instance_that_outlived_its_verdict_is_paid_for_in_the_record(world, event):
    record = world.launch(world.register())
    now = world.clock.now
    world.cloud.runs.note(record, {"closed_at": now, "ended_at": now, "status": "failed", "cost_usd": 0.01})
    world.clock.now += 3600

    sweep_run.handler(event("stepfunctions_execution_failed"), world.context)

    assert world.load().cost_usd == pytest.approx(0.77, abs=0.02)


def test_what_is_refused_is_not_asked_for_again_without_a_pause(world, monkeypatch):
    record = world.launch(world.register())
    pauses = []
    monkeypatch.setattr(cleaning.time, "sleep", pauses.append)
    refusals = iter(["refused: RequestLimitExceeded"] * 3)
    real = Compute.delete
    monkeypatch.setattr(Compute, "delete", lambda self, one: next(refusals, None) or real(self, one))

    cleaning.clean(world.cloud, record, "state_machine", 5)

    assert len(pauses) >= 3


def test_an_instance_in_a_state_that_refuses_its_end_is_not_gone(world, monkeypatch):
    record = world.launch(world.register())
    code = {"Error": {"Code": "IncorrectInstanceState", "Message": ""}}

    def refuse(**_):
        raise ClientError(code, "TerminateInstances")

    world.ec2.terminate_instances = refuse

    assert world.cloud.compute.terminate(record.instance_id) == "refused: IncorrectInstanceState"


def test_a_spot_notice_that_comes_after_the_attempt_says_nothing_of_the_next(world, event, monkeypatch):
    record = world.launch(world.register(), stage="training", task_token="token")
    notice = event("ec2_spot_interruption_warning")
    notice["detail"]["instance-id"] = record.instance_id
    real = observe_instance._current_run

    def then_the_attempt_ends(found, instance_id):
        current = real(found, instance_id)
        world.cloud.runs.note(record, {"attempt": 2})
        return current

    monkeypatch.setattr(observe_instance, "_current_run", then_the_attempt_ends)

    observe_instance.handler(notice, world.context)

    assert world.load().interruption_at == 0


def test_close_and_cleanup_may_be_repeated_by_two_at_once(world, event, monkeypatch):
    record = world.launch(world.register())
    world.cloud.schedules.arm(record.run_id, record.deadline_at)
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 5)
    real = cleaning.find

    def sweep_comes_between(cloud, of_run):
        found = real(cloud, of_run)
        if not getattr(sweep_comes_between, "done", False):
            sweep_comes_between.done = True
            sweep_run.handler(event("stepfunctions_execution_aborted"), world.context)
        return found

    monkeypatch.setattr(cleaning, "find", sweep_comes_between)

    answer = cleanup.handler(event("state_cleanup"), world.context)

    assert answer["everything_gone"] is True
    assert not world.armed()
    assert world.receipt()["everything_gone"] is True
    assert world.load().reason_code == "Aborted"


def test_no_capacity_after_clear_answers_only_ends_the_launch(world, launch):
    world.register()
    world.ec2.refusals = [NO_CAPACITY, "RequestLimitExceeded", NO_CAPACITY, NO_CAPACITY]

    with pytest.raises(CapacityUnavailable):
        launch()

    assert world.load().launch_ended_at >= world.load().rung_at > 0
    with pytest.raises(Superseded):
        world.cloud.runs.claim_rung(world.load().with_changes({"task_token": "older"}), {"rung": 5})
