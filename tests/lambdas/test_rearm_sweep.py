"""A sweep that failed for good comes again, by a schedule with the same event. Runs on moto."""

import json

import pytest

from lambdas import rearm_sweep, sweep_run
from lambdas.adapters import clients

RUN_ID = "20261123-180000"


@pytest.fixture
def rearm(world, event):
    """Return a function that hands over a failed event, with the error it failed with."""

    def call(failed, error="LeftoversRemain"):
        document = event("lambda_sweep_failed")
        document["requestPayload"] = failed
        document["responsePayload"]["errorType"] = error
        rearm_sweep.handler(document, world.context)

    return call


def scheduled():
    """Return name, input and moment of each schedule there is."""
    scheduler = clients.client("scheduler")
    found = [
        scheduler.get_schedule(Name=s["Name"], GroupName="dead-men") for s in scheduler.list_schedules()["Schedules"]
    ]
    return [(s["Name"], json.loads(s["Target"]["Input"]), s["ScheduleExpression"]) for s in found]


def test_a_sweep_by_time_is_armed_under_the_name_that_did_not_fire(world, event, rearm):
    rearm(event("dead_man_switch"))

    ((name, payload, at),) = scheduled()
    assert (name, at) == (f"{RUN_ID}.again", "at(2026-11-23T18:11:00)")
    assert payload == {"source": "dead_man", "run_id": RUN_ID, "schedule": f"{RUN_ID}.again"}


def test_the_end_of_an_execution_is_told_again_and_sweeps_as_the_first_one_would_have(world, event, rearm):
    record = world.launch(world.register(), stage="training", task_token="token")
    ended = event("stepfunctions_execution_aborted")

    rearm(ended)
    rearm(ended)

    ((name, payload, _),) = scheduled()
    assert payload == ended
    assert len(name) <= 64
    sweep_run.handler(payload, world.context)
    assert world.instance_state(record.instance_id) == "terminated"
    assert world.load().reason_code == "Aborted"


def test_a_stop_before_there_was_a_run_comes_to_an_end(event, rearm):
    rearm(event("stepfunctions_execution_aborted"), error="RunUnknown")

    assert scheduled() == []


def test_a_failure_without_an_answer_is_one_too(world, event):
    document = event("lambda_sweep_failed")
    del document["responsePayload"]

    rearm_sweep.handler(document, world.context)

    assert [name for name, _, _ in scheduled()] == [f"{RUN_ID}.again"]
