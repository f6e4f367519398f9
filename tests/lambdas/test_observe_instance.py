"""Events of instances: a loss ends the wait, unless the instance had finished. Runs on moto."""

import pytest

from lambdas import observe_instance

TOKEN = "token-of-training"
LOST = ("ec2_instance_stopped", "ec2_instance_shutting_down", "ec2_instance_terminated")


@pytest.fixture
def training(world):
    """Give a run whose instance trains and whose state machine waits."""
    return world.launch(
        world.register(), stage="training", task_token=TOKEN, booted_at=world.clock.now, progress="training 3/8 windows"
    )


@pytest.fixture
def observe(world, event):
    """Return a function that delivers an event about an instance."""

    def deliver(name, instance_id):
        happened = event(name)
        happened["detail"]["instance-id"] = instance_id
        observe_instance.handler(happened, world.context)

    return deliver


@pytest.mark.parametrize("name", LOST)
def test_an_instance_ended_from_outside_fails_the_attempt(world, observe, training, name):
    observe(name, training.instance_id)

    ((kind, given),) = world.states.settlements()
    assert (kind, given["taskToken"], given["error"]) == ("failure", TOKEN, "InstanceLost")
    assert "last seen at training 3/8 windows" in given["cause"]


def test_an_instance_that_completed_before_it_went_away_completed(world, observe, training):
    # The event of its last report has not arrived; the object is there.
    world.report(training, 9, "completed")

    observe("ec2_instance_terminated", training.instance_id)

    assert [kind for kind, _ in world.states.settlements()] == ["success"]
    assert world.load().state == "completed"


def test_an_instance_that_said_why_it_failed_is_believed(world, observe, training):
    world.report(training, 9, "failed", error={"code": "PreflightFailed", "message": "no GPU"})

    observe("ec2_instance_shutting_down", training.instance_id)

    assert world.states.settlements()[0][1]["error"] == "PreflightFailed"


def test_a_loss_after_a_spot_warning_is_an_interruption(world, observe, training):
    observe("ec2_spot_interruption_warning", training.instance_id)
    assert world.states.settlements() == []
    assert world.load().interruption_at == world.clock.now

    observe("ec2_instance_terminated", training.instance_id)

    assert world.states.settlements()[0][1]["error"] == "SpotInterrupted"


def test_an_instance_lost_before_the_launch_was_recorded_fails_the_attempt_too(world, observe, training):
    world.cloud.runs.note(training, {"instance_id": "", "stage": "boot", "progress": ""})

    observe("ec2_instance_terminated", training.instance_id)

    given = world.states.settlements()[0][1]
    assert given["error"] == "InstanceLost"
    assert "the instance never reported" in given["cause"]


@pytest.mark.parametrize("name", [*LOST, "ec2_spot_interruption_warning"])
def test_an_instance_of_somebody_else_is_ignored(world, observe, training, name):
    before = world.load()
    launched = world.ec2._real.run_instances(ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1)
    foreign = launched["Instances"][0]["InstanceId"]

    observe(name, foreign)
    observe(name, "i-0123456789abcdef0")

    assert world.states.calls == []
    assert world.load() == before


def test_the_end_of_an_earlier_attempt_s_instance_changes_nothing(world, observe, training):
    second = world.launch(training, attempt=2, stage="training", task_token="token-2")

    observe("ec2_instance_terminated", training.instance_id)
    observe("ec2_spot_interruption_warning", training.instance_id)

    assert world.states.calls == []
    assert world.load().interruption_at == 0
    assert world.load().instance_id == second.instance_id


def test_the_end_of_an_instance_after_the_run_s_end_changes_nothing(world, observe, training):
    world.cloud.runs.close(training, {"closed_at": world.clock.now, "task_token": ""})

    observe("ec2_instance_terminated", training.instance_id)

    assert world.states.calls == []
