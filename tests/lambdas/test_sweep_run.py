"""Events of ended executions and dead-man switches: what the workflow did not clean, the sweep does. Runs on moto."""

import pytest
from botocore.exceptions import EndpointConnectionError

from lambdas import sweep_run
from lambdas.adapters import executions
from lambdas.flows.recording import costed, ended_attempts


@pytest.fixture
def sweep(world, event, monkeypatch):
    """Return a function that delivers an event."""
    monkeypatch.setattr(sweep_run, "PATIENCE_SECONDS", 5)
    return lambda name: sweep_run.handler(event(name), world.context)


@pytest.fixture
def training(world):
    """Give a run in the middle of its training, its dead-man switch armed."""
    record = world.launch(world.register(), stage="training", task_token="token", seq=3, booted_at=world.clock.now)
    world.cloud.schedules.arm(record.run_id, record.deadline_at)
    return record


@pytest.fixture
def ended(world, training):
    """Give a run that the workflow has cleaned up and recorded."""
    world.ec2.terminate_instances(InstanceIds=[training.instance_id])
    world.cloud.schedules.disarm(training.run_id)
    now = world.clock.now
    gone = training.with_changes(ended_attempts(training, now))
    cost = costed(gone, now)
    changes = {
        "closed_at": now, "ended_at": now, "status": "completed", "task_token": "",
        **cost, "cost_usd": round(cost["cost_usd"], 6),
    }  # fmt: skip
    return world.cloud.runs.note(training, {**changes, **ended_attempts(training, now)})


@pytest.mark.parametrize(
    ("name", "status", "code", "net"),
    [
        ("stepfunctions_execution_aborted", "aborted", "Aborted", "status_change"),
        ("stepfunctions_execution_timed_out", "failed", "ExecutionTimedOut", "status_change"),
        ("stepfunctions_execution_failed", "failed", "TrainingFailed", "status_change"),
        ("dead_man_switch", "failed", "ExecutionTimedOut", "dead_man"),
    ],
)
def test_a_run_that_was_cut_off_is_cleaned_up_and_recorded(world, sweep, training, name, status, code, net):
    sweep(name)

    assert world.instance_state(training.instance_id) == "terminated"
    assert not world.armed()
    record = world.load()
    assert (record.status, record.reason_code) == (status, code)
    assert "Next: " in record.cause
    assert record.closed_at > 0
    assert record.task_token == ""
    assert (world.receipt()["everything_gone"], world.receipt()["checked_by"]) == (True, net)
    assert world.document("control_registry.json")["runs"][0]["reason_code"] == code


def test_the_dead_man_switch_stops_the_execution_first(world, sweep, training):
    sweep("dead_man_switch")

    ((operation, given),) = world.states.calls
    assert (operation, given["executionArn"]) == ("stop_execution", training.execution_arn)
    assert given["error"] == "ExecutionTimedOut"


def test_the_sweep_cleans_up_even_when_the_execution_cannot_be_stopped(world, sweep, training):
    world.states.refuse = "ThrottlingException"

    sweep("dead_man_switch")

    assert world.instance_state(training.instance_id) == "terminated"


@pytest.mark.parametrize("name", ["dead_man_switch", "stepfunctions_execution_aborted"])
def test_the_sweep_concludes_even_when_step_functions_does_not_answer(world, sweep, training, monkeypatch, name):
    def unreachable(*_arguments):
        raise EndpointConnectionError(endpoint_url="https://states.us-east-1.amazonaws.com")

    monkeypatch.setattr(executions, "stop", unreachable)

    sweep(name)

    assert world.instance_state(training.instance_id) == "terminated"
    assert world.load().ended_at > 0


def test_after_a_normal_end_the_event_changes_nothing_of_the_verdict(world, sweep, ended):
    sweep("stepfunctions_execution_succeeded")

    assert world.load() == ended
    assert world.receipt()["everything_gone"] is True, "RecordRun ended without one: whoever looks last writes it"


def test_after_the_end_the_whole_history_is_there_and_corrects_the_cost(world, sweep, ended):
    entered = {"type": "PassStateEntered", "stateEnteredEventDetails": {"name": "Cleanup"}}
    world.states.history = [entered] * 400

    sweep("stepfunctions_execution_succeeded")

    record = world.load()
    assert (record.cost["transitions"], record.cost["transitions_from"]) == (400, "history")
    assert record.cost["transitions_usd"] == pytest.approx(0.01)
    assert record.cost_usd == pytest.approx(record.cost["total_usd"], abs=1e-6)
    assert record.cost_usd > ended.cost_usd
    (entry,) = world.document("control_registry.json")["runs"]
    assert (entry["cost"], entry["cost_usd"]) == (record.cost, pytest.approx(record.cost_usd, abs=1e-6))


def test_a_count_that_is_off_by_less_than_a_hundredth_of_a_cent_is_corrected_too(world, sweep, ended):
    entered = {"type": "PassStateEntered", "stateEnteredEventDetails": {"name": "Cleanup"}}
    world.states.history = [entered] * 16

    sweep("stepfunctions_execution_succeeded")

    assert world.load().cost["transitions"] == 16


def test_what_was_counted_is_not_replaced_by_an_assumption(world, sweep, ended):
    counted = {**ended.cost, "transitions": 13, "transitions_from": "history"}
    world.cloud.runs.note(ended, {"cost": counted})
    world.states.refuse = "ThrottlingException"

    sweep("stepfunctions_execution_succeeded")

    assert world.load().cost == counted


def test_the_abort_of_a_run_that_had_ended_leaves_its_verdict(world, sweep, ended):
    sweep("stepfunctions_execution_aborted")

    assert world.load().status == "completed"


def test_the_same_event_twice_leaves_one_verdict_and_one_receipt(world, sweep, training):
    sweep("stepfunctions_execution_aborted")
    first, receipt = world.load(), world.receipt()
    world.clock.now += 30

    sweep("stepfunctions_execution_aborted")

    assert world.load() == first
    assert world.receipt() == receipt


def test_what_the_workflow_left_behind_is_cleaned_up_after_its_end(world, sweep, ended):
    late = world.launch(ended, attempt=2)

    sweep("stepfunctions_execution_succeeded")

    assert world.instance_state(late.instance_id) == "terminated"
    assert world.load().status == "completed"


def test_a_success_whose_verdict_was_not_written_is_written(world, sweep, ended):
    world.cloud.runs.note(ended, {"ended_at": 0, "status": "training"})

    sweep("stepfunctions_execution_succeeded")

    assert world.load().status == "completed"


def test_leftovers_arm_the_switch_again_and_repeat_the_event(world, sweep, training, monkeypatch):
    monkeypatch.setattr(type(world.cloud.compute), "delete", lambda self, resource: "refused: UnauthorizedOperation")
    monkeypatch.setattr(sweep_run, "PATIENCE_SECONDS", -1)
    world.cloud.schedules.disarm(training.run_id)

    with pytest.raises(sweep_run.LeftoversRemain, match=training.instance_id):
        sweep("stepfunctions_execution_aborted")

    assert world.armed()
    assert world.receipt()["everything_gone"] is False
    assert world.load().ended_at == 0


def test_leftovers_raise_a_metric_that_an_alarm_can_watch(world, sweep, training, monkeypatch, capsys):
    monkeypatch.setattr(type(world.cloud.compute), "delete", lambda self, resource: "refused: UnauthorizedOperation")
    monkeypatch.setattr(sweep_run, "PATIENCE_SECONDS", -1)

    with pytest.raises(sweep_run.LeftoversRemain):
        sweep("stepfunctions_execution_aborted")

    assert '"Leftovers":[1.0]' in capsys.readouterr().out.replace(" ", "")


@pytest.mark.parametrize("name", ["stepfunctions_execution_failed", "dead_man_switch"])
def test_an_execution_that_registered_no_run_left_nothing(world, sweep, name):
    sweep(name)

    assert world.keys() == []
    assert world.states.calls == []


def test_a_stop_during_acceptance_is_repeated_until_the_run_is_known(world, sweep, event):
    """The Lambda of AcceptRun is not stopped with its execution: it may register the run after the event."""
    with pytest.raises(sweep_run.RunUnknown):
        sweep("stepfunctions_execution_aborted")

    record = world.register(execution_arn=event("stepfunctions_execution_aborted")["detail"]["executionArn"])
    sweep("stepfunctions_execution_aborted")

    ended = world.cloud.runs.load(record.run_id)
    assert (ended.status, ended.reason_code) == ("aborted", "Aborted")
