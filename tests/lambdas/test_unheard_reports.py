"""Events that do not come: a machine that reports is waited for again, with a bound. Runs on moto."""

import pytest

from lambdas import await_training, collect_outcome
from lambdas.core.verdict import MOST_RETURNS


@pytest.fixture
def collect(world, event):
    """Return a function that judges a missed heartbeat; arguments change the state of the workflow."""

    def call(**state):
        payload = event("state_collect_outcome_after_timeout")
        payload["state"] |= state
        return collect_outcome.handler(payload, world.context)

    return call


@pytest.fixture
def training(world):
    """Give a run in training whose last report that anybody heard of is older than its heartbeat timeout."""
    record = world.launch(world.register(), stage="training", task_token="token", booted_at=world.clock.now, seq=3)
    facts = {
        "state": "running",
        "phase": "training",
        "phase_at": world.clock.now,
        "heartbeat_at": world.clock.now - 200,
    }
    return world.cloud.runs.note(record, facts)


def test_a_report_that_no_event_told_of_leads_back_to_waiting(world, event, collect, training):
    world.report(training, 4, "running", progress={"step": 1, "total": 8, "unit": "windows"})

    told = collect()

    assert (told["status"], told["next"], told["reason_code"], told["returns"]) == ("running", "await", None, 1)
    # Until the deadline and a heartbeat more, counted from now.
    assert told["boot"]["training_timeout_seconds"] == training.deadline_at - world.clock.now + 180
    assert world.instance_state(training.instance_id) == "running"
    world.clock.now += 1
    later = {**event("state_await_training"), "task_token": "again", "entered_at": "2026-11-23T18:09:00.000Z"}
    await_training.handler(later, world.context)
    assert world.load().task_token == "again"
    assert [kind for kind, _ in world.states.settlements()] == ["heartbeat"]


def test_events_that_are_lost_in_the_boot_cost_the_time_to_notice_and_nothing_else(world, collect):
    record = world.launch(world.register(), stage="boot", task_token="token")
    world.report(record, 1, "booting", phase="boot")

    told = collect()

    assert (told["next"], told["boot"]["instance_id"]) == ("await", record.instance_id)


def test_a_machine_that_fell_silent_is_lost_the_second_time(world, collect, training):
    world.report(training, 4, "running")
    collect()
    world.clock.now += 181

    told = collect(returns=1)

    assert (told["reason_code"], told["next"]) == ("HeartbeatLost", "retry")


def test_a_machine_that_reports_and_gets_nowhere_is_stalled_though_no_event_came(world, collect, training):
    world.cloud.runs.note(training, {"progress": "training", "progress_at": world.clock.now})
    world.clock.now += 1900
    world.report(training, 4, "running", phase="training")

    assert collect()["reason_code"] == "NoProgress"


def test_the_way_back_is_not_taken_for_ever(world, collect, training):
    world.report(training, 4, "running")

    told = collect(returns=MOST_RETURNS)

    assert (told["reason_code"], told["status"]) == ("HeartbeatLost", "failed")


def test_a_workflow_that_began_before_there_was_a_way_back_is_not_sent_there(world, event, training):
    world.report(training, 4, "running")
    payload = event("state_collect_outcome_after_timeout")
    del payload["may_await"]

    told = collect_outcome.handler(payload, world.context)

    assert (told["status"], told["reason_code"]) == ("failed", "HeartbeatLost")
