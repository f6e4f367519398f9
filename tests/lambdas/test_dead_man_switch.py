"""The dead-man switch: armed again before it is needed, never for the past, and gone with the run. Runs on moto."""

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from contracts.reasons import explain
from lambdas import accept_run, sweep_run
from lambdas.adapters import clients
from lambdas.adapters.runs_table import RunsTable
from lambdas.flows.recording import close

RUN_ID = "20261123-180000"


def test_a_sweep_by_time_that_fails_at_once_has_armed_the_next_one(world, event, monkeypatch):
    record = world.launch(world.register())
    world.cloud.schedules.arm(record.run_id, record.deadline_at)

    def fail(self, run_id):
        raise ClientError({"Error": {"Code": "RequestLimitExceeded", "Message": ""}}, "GetItem")

    monkeypatch.setattr(RunsTable, "load", fail)

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

    monkeypatch.setattr(sweep_run, "PATIENCE_SECONDS", -1)

    def fail(**_):
        raise ConnectionClosedError(endpoint_url="https://ec2")

    world.ec2.terminate_instances = fail

    with pytest.raises(sweep_run.LeftoversRemain, match=record.instance_id):
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


@pytest.mark.parametrize(
    ("code", "recorded"), [("RunTimedOut", "RunTimedOut"), ("OutOfMemory", "OutOfMemory"), ("", "")]
)
def test_a_switch_that_overtakes_a_cleanup_records_what_the_run_was_closed_for(world, event, code, recorded):
    """EC2 is slow to end the instance, so Cleanup is still at it when the schedule comes."""
    record = world.launch(world.register(), stage="training", task_token="token")
    close(world.cloud, record, code)
    world.clock.now += 900

    sweep_run.handler(event("dead_man_switch"), world.context)

    assert (world.load().reason_code, bool(world.load().ended_at)) == (recorded, True)
    assert world.load().status == ("failed" if code else "completed")
    # The workflow is at work: it ends by itself, and as its record says.
    assert "stop_execution" not in [operation for operation, _ in world.states.calls]


def test_a_cleanup_that_takes_longer_than_any_is_stopped_with_its_own_reason(world, event):
    record = world.launch(world.register(), stage="training", task_token="token")
    close(world.cloud, record, "OutOfMemory")
    world.clock.now += sweep_run.CLEANUP_SECONDS + 1

    sweep_run.handler(event("dead_man_switch"), world.context)

    stops = [given["error"] for operation, given in world.states.calls if operation == "stop_execution"]
    assert stops == ["OutOfMemory"]
