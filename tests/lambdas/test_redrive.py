"""What each state does when a redrive enters it again, with the very input it had. Runs on moto."""

import hashlib
import json

import pytest

from contracts.reasons import REASONS, RunEnded, explain
from lambdas import accept_run, await_training, cleanup, collect_outcome, launch_instance, record_run, sweep_run
from lambdas.core.budget import month_of
from lambdas.flows.recording import close


@pytest.fixture
def trained(world):
    """Give a run in training whose machine has done its work, all artifacts in the bucket."""
    world.put_inputs()
    record = world.launch(world.register(), stage="training", task_token="token", booted_at=world.clock.now, seq=3)
    world.cloud.schedules.arm(record.run_id, record.deadline_at)
    listed = []
    names = [f"{f}/{m}.parquet" for m in record.request["models"] for f in ("forecasts", "backtest")]
    for path in ("model_metadata.json", *names):
        content = f"content of {path}".encode()
        world.put(world.cloud.folder(record) + path, content)
        listed.append({"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    training = {
        "schema_version": 1, "run_id": record.run_id, "attempt": 1, "instance_id": record.instance_id,
        "status": "completed", "phases": {}, "total_duration_seconds": 9, "artifacts": listed,
    }  # fmt: skip
    world.put(world.cloud.folder(record) + "training.json", json.dumps(training))
    world.report(record, 9, "completed")
    return record


@pytest.fixture
def stopped(world, event, trained, monkeypatch):
    """Give that run after a person has stopped its execution and the sweep has ended it."""
    monkeypatch.setattr(sweep_run, "PATIENCE_SECONDS", 5)
    monkeypatch.setattr(cleanup, "PATIENCE_SECONDS", 5)
    sweep_run.handler(event("stepfunctions_execution_aborted"), world.context)
    record = world.load()
    assert (record.status, record.reason_code) == ("aborted", "Aborted")
    world.clock.now += 300
    world.states.calls.clear()
    return record


def assert_untouched(world, stopped):
    """Assert that a redrive reopened nothing: no machine, schedule or reservation, and the verdict as it was."""
    record = world.load()
    assert (record.status, record.reason_code, record.cause) == (stopped.status, stopped.reason_code, stopped.cause)
    assert (record.ended_at, record.cost_usd, record.closed_at) == (
        stopped.ended_at,
        stopped.cost_usd,
        stopped.closed_at,
    )
    assert record.task_token == ""
    assert len(world.instances()) == 1
    assert world.instance_state(stopped.attempts[0].instance_id) == "terminated"
    assert not world.armed()
    month = world.cloud.runs.month(month_of(record.run_id))
    assert month.reserved_usd == {}
    assert month.ended_usd == pytest.approx(record.cost_usd, abs=1e-6)


@pytest.mark.parametrize("state", [accept_run, launch_instance, await_training])
def test_what_would_take_a_run_up_again_refuses_and_says_how_it_ended(world, event, stopped, state):
    name = state.__name__.rpartition(".")[2]

    with pytest.raises(RunEnded, match=r"It ended as aborted, Aborted\."):
        state.handler(event(f"state_{name}"), world.context)

    assert world.states.calls == []
    assert_untouched(world, stopped)


@pytest.mark.parametrize(
    "error", [None, {"Error": "RunEnded", "Cause": "{}"}, {"Error": "States.Timeout", "Cause": ""}]
)
def test_an_outcome_is_not_collected_twice_though_the_machine_had_completed(world, event, stopped, error):
    payload = event("state_collect_outcome_after_success")
    payload["state"] |= {"error": error} if error else {}
    keys = world.keys(stopped.prefix)
    ending = world.document(f"{stopped.prefix}logs/attempt-1/ending.json")

    told = collect_outcome.handler(payload, world.context)

    assert (told["status"], told["reason_code"], told["next"]) == ("failed", "RunEnded", "cleanup")
    assert "It ended as aborted, Aborted." in told["cause"]
    assert world.keys(stopped.prefix) == keys
    assert world.document(f"{stopped.prefix}logs/attempt-1/ending.json") == ending
    assert_untouched(world, stopped)


def test_a_cleanup_that_goes_on_for_a_run_with_a_verdict_cannot_end_in_success(world, event, stopped):
    answer = cleanup.handler(event("state_cleanup"), world.context)

    assert (answer["done"], answer["everything_gone"]) == (True, True)
    assert (answer["verdict"]["status"], answer["verdict"]["reason_code"]) == ("failed", "RunEnded")
    payload = event("state_record_run")
    payload["state"]["cleanup"] = answer
    assert record_run.handler(payload, world.context)["reason_code"] == "RunEnded"
    assert_untouched(world, stopped)


def test_a_verdict_that_comes_too_late_is_neither_written_nor_reported(world, event, stopped):
    answer = record_run.handler(event("state_record_run"), world.context)

    assert (answer["status"], answer["reason_code"]) == ("failed", "RunEnded")
    assert_untouched(world, stopped)


def test_a_run_that_is_recorded_as_completed_is_reported_as_such(world, event, stopped):
    world.cloud.runs.note(stopped, {"status": "completed", "reason_code": "", "cause": ""})

    for handler, name in ((cleanup.handler, "state_cleanup"), (record_run.handler, "state_record_run")):
        answer = handler(event(name), world.context)
        verdict = answer.get("verdict", answer)
        assert (verdict["status"], verdict["reason_code"], verdict["cause"]) == ("completed", None, None)


def test_whoever_closed_a_run_says_why_it_ended_not_the_redrive(world, event, trained):
    """The sweep of the stop is still at work when the redriven execution has come to its end."""
    world.cloud.runs.close(trained, {"closed_at": world.clock.now, "task_token": ""})
    payload = event("state_record_run")
    payload["state"]["cleanup"]["verdict"] = {"status": "failed", "reason_code": "RunEnded", "cause": "It ended."}

    answer = record_run.handler(payload, world.context)

    assert (answer["recorded"], answer["reason_code"]) == (False, "RunEnded")
    assert world.load().ended_at == 0


@pytest.mark.parametrize(
    ("closed_as", "status", "code"),
    [
        ("Aborted", "aborted", "Aborted"),
        ("HeartbeatLost", "failed", "HeartbeatLost"),
        ("", "completed", ""),
        ("RunEnded", "failed", "RunEnded"),
    ],
)
def test_a_redrive_that_ends_before_the_verdict_is_written_does_not_take_its_place(
    world, event, trained, monkeypatch, closed_as, status, code
):
    """The event of the redriven execution's end overtakes the sweep that closed the run."""
    monkeypatch.setattr(sweep_run, "PATIENCE_SECONDS", 5)
    close(world.cloud, trained, closed_as)
    payload = event("stepfunctions_execution_failed")
    payload["detail"] |= {"error": "RunEnded", "cause": explain("RunEnded", "It is being cleaned up.")}

    sweep_run.handler(payload, world.context)

    record = world.load()
    assert (record.status, record.reason_code) == (status, code)
    assert record.cause.startswith(REASONS[code].sentence if code else "")


def test_before_its_run_is_closed_a_redriven_state_goes_on(world, event, trained):
    """The event of the stop is late or lost: the machine lives, and the new token finds its last report."""
    await_training.handler(event("state_await_training"), world.context)

    ((kind, given),) = world.states.settlements()
    assert (kind, given["taskToken"]) == ("success", event("state_await_training")["task_token"])


def test_the_late_event_of_a_stop_ends_what_was_redriven_before_it(world, event, trained, monkeypatch):
    monkeypatch.setattr(sweep_run, "PATIENCE_SECONDS", 5)
    await_training.handler(event("state_await_training"), world.context)
    world.states.calls.clear()

    sweep_run.handler(event("stepfunctions_execution_aborted"), world.context)

    ((operation, given),) = world.states.calls
    assert (operation, given["executionArn"], given["error"]) == ("stop_execution", trained.execution_arn, "RunEnded")
    assert world.load().reason_code == "Aborted"
    with pytest.raises(RunEnded):
        await_training.handler(event("state_await_training"), world.context)


def test_an_execution_that_registered_no_run_in_time_registers_none_later(world, event):
    world.put_inputs()
    world.clock.now += 3600

    with pytest.raises(RunEnded, match=r"began at 2026-11-23T18:00:00Z and registered no run then\."):
        accept_run.handler(event("state_accept_run"), world.context)

    assert world.cloud.runs.newest(10) == []
    assert not world.armed()


def test_a_late_token_of_an_earlier_attempt_is_neither_kept_nor_an_end(world, event):
    world.register(attempt=2, task_token="token-of-attempt-2")

    await_training.handler(event("state_await_training"), world.context)

    assert (world.load().task_token, world.load().closed_at) == ("token-of-attempt-2", 0)
