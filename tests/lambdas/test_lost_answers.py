"""Answers of AWS that are lost, late, double or unclear, and what the controller makes of them. Runs on moto."""

import socket
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from contracts.reasons import PermissionMissing
from lambdas import accept_run, await_training, cleanup, launch_instance, observe_instance, record_run, sweep_run
from lambdas.adapters import clients, runs_table
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.compute import Compute
from lambdas.adapters.runs_table import MonthMoved, RunsTable
from lambdas.core.budget import Month
from lambdas.flows import cleaning

RUN_ID = "20261123-180000"


class ThrottlingException(ClientError):
    """As botocore makes them, one class for each error that a service models."""


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
        runs_table,
        "client",
        lambda service, *pace: LosesAnswers(real(service, *pace)) if service == "dynamodb" else real(service, *pace),
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
    cleaning.clean(world.cloud, world.load().run_id, world.load(), "state_machine", 5)
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

    monkeypatch.setattr(runs_table, "client", lambda *_: Throttled())

    # The month is read and written again, under the same run id.
    with pytest.raises(MonthMoved):
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


def test_what_is_refused_is_not_asked_for_again_without_a_pause(world, monkeypatch):
    record = world.launch(world.register())
    pauses = []
    monkeypatch.setattr(cleaning.time, "sleep", pauses.append)
    refusals = iter(["refused: RequestLimitExceeded"] * 3)
    real = Compute.delete
    monkeypatch.setattr(Compute, "delete", lambda self, one: next(refusals, None) or real(self, one))

    cleaning.clean(world.cloud, record.run_id, record, "state_machine", 5)

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

    def sweep_comes_between(*asked):
        found = real(*asked)
        if not getattr(sweep_comes_between, "done", False):
            sweep_comes_between.done = True
            sweep_run.handler(event("stepfunctions_execution_aborted"), world.context)
        return found

    monkeypatch.setattr(cleaning, "find", sweep_comes_between)

    answer = cleanup.handler(event("state_cleanup"), world.context)

    assert answer["everything_gone"] is True
    assert not world.armed()
    assert world.receipt()["everything_gone"] is True
    # The outcome was a success before the run was stopped in its cleanup.
    assert (world.load().status, world.load().reason_code) == ("completed", "")
