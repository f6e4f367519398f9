"""Launches whose answer is lost, late, double or unclear: one instance an attempt, and none unpaid. Runs on moto."""

import math

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from contracts.reasons import CapacityUnavailable
from lambdas import await_training, cleanup
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.compute import Compute
from lambdas.adapters.runs_table import Superseded
from lambdas.core.ladder import Rung
from lambdas.flows import cleaning, launching

NO_CAPACITY = "InsufficientInstanceCapacity"


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
    assert cleaning.find(world.cloud, world.load().run_id, world.load(), math.inf).unseen == (
        "a launch of attempt 1 in flight",
    )
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
            launching.begin(world.cloud, record, record.attempt, "second", record.fence + 1)

    world.ec2.on_launch = second_call_begins

    launch(task_token="first")

    assert len(world.ec2.launches) == 1, "the first call goes on although another one has taken over"


def test_a_late_second_call_of_the_launch_leaves_the_waiting_state_its_token(world, launch):
    world.launch(world.register(), stage="training", task_token="token-of-training")

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
    assert cleaning.find(world.cloud, world.load().run_id, world.load(), math.inf).unseen == (), (
        "cleanup would wait for a launch that is over"
    )
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


def test_no_capacity_after_clear_answers_only_ends_the_launch(world, launch):
    world.register()
    world.ec2.refusals = [NO_CAPACITY, "RequestLimitExceeded", NO_CAPACITY, NO_CAPACITY]

    with pytest.raises(CapacityUnavailable):
        launch()

    assert world.load().launch_ended_at >= world.load().rung_at > 0
    with pytest.raises(Superseded):
        world.cloud.runs.claim_rung(world.load().with_changes({"task_token": "older"}), {"rung": 5})
