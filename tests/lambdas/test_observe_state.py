"""Event on system-state.json: heartbeats, verdicts, and everything that must change nothing. Runs on moto."""

import json

import pytest

from contracts.reasons import RunEnded
from lambdas import await_training, observe_state

TOKEN = "token-of-training"


@pytest.fixture
def observe(world, event):
    """Return a function that delivers the event."""
    return lambda name="s3_state_written": observe_state.handler(world.written(event(name)), world.context)


@pytest.fixture
def training(world):
    """Give a run whose instance trains and whose state machine waits."""
    return world.launch(world.register(), stage="training", task_token=TOKEN, booted_at=world.clock.now)


def test_a_running_report_is_a_heartbeat(world, observe, training):
    world.report(training, 2, "running", progress={"step": 3, "total": 8, "unit": "windows"})

    observe()

    assert world.states.settlements() == [("heartbeat", {"taskToken": TOKEN})]
    assert (world.load().seq, world.load().progress) == (2, "training 3/8 windows")


def test_a_completed_report_ends_the_wait(world, observe, training):
    world.report(training, 9, "completed")

    observe()

    ((kind, given),) = world.states.settlements()
    assert kind == "success"
    assert json.loads(given["output"])["status"] == "completed"


@pytest.mark.parametrize("status", ["failed", "interrupted"])
def test_a_failed_report_ends_the_wait_with_the_instance_s_reason(world, observe, training, status):
    world.report(training, 4, status, error={"code": "DataSyncFailed", "message": "checksum differs"})

    observe()

    assert world.states.settlements() == [
        ("failure", {"taskToken": TOKEN, "error": "DataSyncFailed", "cause": "checksum differs"})
    ]


def test_the_same_event_twice_advances_the_record_once(world, observe, training):
    world.report(training, 2, "running")

    observe()
    before = world.load()
    world.clock.now += 40
    observe("s3_state_written_duplicate")

    assert world.load() == before


def test_silence_is_not_hidden_by_old_events(world, observe, training):
    world.report(training, 2, "running", progress={"step": 1, "total": 8, "unit": "windows"})
    observe()

    world.clock.now += 1801
    observe("s3_state_written_duplicate")

    assert world.states.settlements()[-1][1]["error"] == "NoProgress"


def test_a_report_behind_the_recorded_one_changes_nothing(world, observe, training):
    world.cloud.runs.note(training, {"seq": 5, "state": "running"})
    world.report(training, 4, "completed")

    observe()

    assert world.load().state == "running"
    assert "success" not in [kind for kind, _ in world.states.settlements()]


@pytest.mark.parametrize(
    "foreign", [{"instance_id": "i-0fedcba9876543210"}, {"attempt": 2}, {"run_id": "20261123-190000"}], ids=str
)
def test_a_completed_report_of_another_instance_attempt_or_run_is_no_success(world, observe, training, foreign):
    world.report(training, 9, "completed", **foreign)

    observe()

    assert world.load().state == ""
    assert world.states.settlements() == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff" * 50, b"null", b"[" * 5000, b'{"status": "completed"}', b" " * 70_000, b'{"seq": NaN}'],
    ids=["empty", "cut", "binary", "null", "nested", "incomplete", "oversized", "NaN"],
)
def test_a_corrupt_report_is_ignored_with_a_warning(world, observe, training, log_text, content):
    world.put(world.cloud.folder(training) + "system-state.json", content)

    observe()

    assert world.states.settlements() == []
    assert world.load().seq == 0
    assert '"level":"WARNING"' in log_text()


def test_an_oversized_report_that_says_completed_is_no_success(world, observe, training):
    world.report(training, 9, "completed")
    key = world.cloud.folder(training) + "system-state.json"
    world.put(key, (world.cloud.objects.head(key, 10_000) or b"") + b" " * 70_000)

    observe()

    assert world.states.settlements() == []


@pytest.mark.parametrize("answer", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_settling_a_state_that_no_longer_waits_is_no_error(world, observe, training, answer):
    world.report(training, 9, "completed")
    world.states.refuse = answer

    observe()

    assert world.load().state == "completed"


def test_a_settlement_that_aws_could_not_take_is_an_error_so_that_the_event_is_repeated(world, observe, training):
    world.report(training, 9, "completed")
    world.states.refuse = "ThrottlingException"

    with pytest.raises(Exception, match="ThrottlingException"):
        observe()

    world.states.refuse = ""
    observe()
    assert world.states.settlements()[-1][0] == "success"


def test_a_closed_run_is_told_nothing(world, observe, training):
    world.cloud.runs.note(training, {"closed_at": 1})
    world.report(training, 9, "completed")

    observe()

    assert world.states.calls == []


def test_an_event_that_comes_before_the_object_can_be_read_changes_nothing(world, observe, training):
    observe()

    assert world.load() == training


def test_a_key_of_no_run_and_a_run_of_nobody_are_ignored(world, observe):
    observe("s3_state_key_of_no_run")
    observe("s3_state_written")

    assert world.states.calls == []


def test_await_training_stores_its_token_and_waits(world, event):
    world.launch(
        world.register(), stage="boot", task_token="token-of-boot", seq=1, state="booting", booted_at=world.clock.now
    )

    await_training.handler(event("state_await_training"), world.context)

    record = world.load()
    assert (record.stage, record.status) == ("training", "training")
    assert record.task_token == event("state_await_training")["task_token"]
    assert [kind for kind, _ in world.states.settlements()] == ["heartbeat"]


def test_await_training_is_settled_at_once_when_the_verdict_came_first(world, event, observe):
    booting = world.launch(world.register(), stage="boot", task_token="token-of-boot", seq=1, booted_at=world.clock.now)
    world.report(booting, 3, "completed")
    observe()

    await_training.handler(event("state_await_training"), world.context)

    kinds = [(kind, given["taskToken"]) for kind, given in world.states.settlements()]
    assert kinds == [("success", "token-of-boot"), ("success", event("state_await_training")["task_token"])]


def test_await_training_of_a_run_that_ended_is_refused(world, event):
    world.register(closed_at=1)

    with pytest.raises(RunEnded):
        await_training.handler(event("state_await_training"), world.context)

    assert world.load().task_token == ""


def test_another_machine_s_report_below_this_run_s_prefix_changes_nothing(world, training):
    forged = training.with_changes({"instance_id": "i-0badbadbadbadbad0"})
    world.report(forged, 99, "completed")
    key = world.cloud.folder(forged) + "system-state.json"

    observe_state.handler({"detail": {"object": {"key": key}}}, world.context)

    assert world.load() == training
    assert world.states.calls == []


def test_a_folder_s_report_that_names_another_machine_changes_nothing(world, observe, training):
    named = training.with_changes({"instance_id": "i-0badbadbadbadbad0"})
    world.report(named, 99, "completed")
    content = world.cloud.objects.head(world.cloud.folder(named) + "system-state.json", 10_000)
    world.put(world.cloud.folder(training) + "system-state.json", content)

    observe()

    assert world.load().seq == 0
    assert world.states.settlements() == []


@pytest.mark.parametrize(("attempt", "believed"), [(1, True), (2, False)])
def test_a_machine_that_is_not_on_record_yet_is_known_by_its_tags(world, attempt, believed):
    launched = world.launch(world.register(), stage="boot", task_token=TOKEN)
    unanswered = {"instance_id": "", "attempts": (), "attempt": attempt}
    world.cloud.runs.note(launched, unanswered)
    world.report(launched.with_changes({"attempt": attempt}), 1, "booting")
    key = world.cloud.folder(launched) + "system-state.json"

    observe_state.handler({"detail": {"object": {"key": key}}}, world.context)

    assert bool(world.states.settlements()) is believed
    assert world.load().instance_id == (launched.instance_id if believed else "")
