"""The custom resource of the stack: no instance is left when it lets the deletion go on. Runs on moto."""

import json

import pytest

from contracts.reasons import StackClosing
from lambdas import accept_run, drain_stack, launch_instance
from lambdas.flows import draining
from tests.lambdas.conftest import EXECUTION_ARN


@pytest.fixture
def drain(world, event, monkeypatch):
    """Return a function that runs the handler and gives what CloudFormation heard."""
    monkeypatch.setattr(draining, "POLL_SECONDS", 0.0)
    heard = []

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_error):
            return None

    def urlopen(request, timeout):
        heard.append((request.method, request.full_url, dict(request.header_items()), json.loads(request.data)))
        return Answer()

    monkeypatch.setattr(drain_stack.urllib.request, "urlopen", urlopen)

    def call(name, **changes):
        drain_stack.handler({**event(name), **changes}, world.context)
        ((method, url, headers, document),) = heard
        assert (method, url) == ("PUT", event(name)["ResponseURL"])
        # The address is signed for an empty content type.
        assert headers["Content-type"] == ""
        return document

    return call


def test_creating_the_stack_touches_nothing_and_is_answered(world, drain, event):
    record = world.launch(world.register())

    answer = drain("cloudformation_create")

    asked = event("cloudformation_create")
    assert answer["Status"] == "SUCCESS"
    assert {key: answer[key] for key in ("StackId", "RequestId", "LogicalResourceId")} == {
        key: asked[key] for key in ("StackId", "RequestId", "LogicalResourceId")
    }
    assert answer["PhysicalResourceId"] == "drain"
    assert world.instance_state(record.instance_id) == "running"


def test_deleting_the_stack_stops_every_execution_and_ends_every_instance(world, drain):
    record = world.launch(world.register())
    world.states.running = ["arn:one", "arn:two"]

    answer = drain("cloudformation_delete")

    assert answer["Status"] == "SUCCESS"
    assert world.instance_state(record.instance_id) == "terminated"
    stopped = [given["executionArn"] for operation, given in world.states.calls if operation == "stop_execution"]
    assert stopped == ["arn:one", "arn:two"]


def test_a_running_run_is_closed_cleaned_up_and_recorded_as_aborted(world, drain):
    record = world.launch(world.register())
    world.states.running = [record.execution_arn]

    answer = drain("cloudformation_delete")

    assert answer["Status"] == "SUCCESS"
    ended = world.cloud.runs.load(record.run_id)
    assert (ended.status, ended.reason_code) == ("aborted", "Aborted")
    assert ended.closed_at
    receipt = world.document(record.prefix + "cleanup_status.json")
    assert receipt["checked_by"] == "stack_deletion"
    assert receipt["everything_gone"]


def test_a_launch_in_flight_when_the_executions_are_stopped_leaves_no_instance(world, drain, monkeypatch):
    record = world.register(rung_at=world.clock.now)
    world.states.running = [record.execution_arn]
    looks = []
    inventory = type(world.cloud.compute).inventory

    def launched_after_the_first_look(self, *asked):
        seen = inventory(self, *asked)
        looks.append(asked)
        if len(looks) == 1:
            world.launch(world.cloud.runs.load(record.run_id))
            world.clock.now += 1000
        return seen

    monkeypatch.setattr(type(world.cloud.compute), "inventory", launched_after_the_first_look)

    assert drain("cloudformation_delete")["Status"] == "SUCCESS"
    assert len(looks) > 1
    assert world.cloud.compute.inventory().empty


def test_a_stack_that_cannot_be_emptied_is_not_deleted_and_says_what_is_left(world, drain, monkeypatch):
    record = world.launch(world.register())
    monkeypatch.setattr(type(world.cloud.compute), "delete", lambda self, resource: "refused: UnauthorizedOperation")
    monkeypatch.setattr(drain_stack, "PATIENCE_SECONDS", -1)

    answer = drain("cloudformation_delete")

    assert answer["Status"] == "FAILED"
    assert record.instance_id in answer["Reason"]


def test_an_error_is_answered_too_so_that_nobody_waits_an_hour(world, drain):
    world.states.running = ["arn:one"]
    world.states.refuse = "AccessDeniedException"

    answer = drain("cloudformation_delete")

    assert answer["Status"] == "FAILED"
    assert "AccessDeniedException" in answer["Reason"]


def test_only_http_addresses_are_called(drain):
    with pytest.raises(ValueError, match="expected an HTTP address"):
        drain("cloudformation_create", ResponseURL="file:///etc/passwd")


def test_once_the_stack_is_being_deleted_no_run_is_accepted_and_none_is_launched(world, drain, event):
    world.put_inputs()
    accepted = accept_run.handler(event("state_accept_run"), world.context)

    assert drain("cloudformation_delete")["Status"] == "SUCCESS"

    other = {**event("state_accept_run"), "execution_arn": EXECUTION_ARN + "-2"}
    with pytest.raises(StackClosing):
        accept_run.handler(other, world.context)
    # The execution was not listed yet, so nobody has closed its run.
    with pytest.raises(StackClosing):
        launch_instance.handler({**event("state_launch_instance"), "run_id": accepted["run_id"]}, world.context)
    assert world.ec2.launches == []


def test_a_stack_that_is_made_again_with_its_table_accepts_runs(world, drain, event):
    world.put_inputs()
    world.cloud.runs.close_stack(world.clock.now)

    assert drain("cloudformation_create")["Status"] == "SUCCESS"

    assert accept_run.handler(event("state_accept_run"), world.context)["run_id"]
