"""State LaunchInstance while AWS has no capacity: rounds a minute apart, each asked once. Runs on moto."""

import pytest
from botocore.exceptions import ClientError

from contracts.reasons import CapacityUnavailable, PermissionMissing, QuotaTooLow, RunEnded
from lambdas.adapters.clients import AwsUnavailable
from lambdas.core.inventory import unseen_launches
from lambdas.core.waiting import NoCapacityYet
from lambdas.flows import launching
from lambdas.flows.launching import begin

NO_CAPACITY = "InsufficientInstanceCapacity"


def test_a_run_that_may_wait_asks_each_round_with_tokens_and_a_boot_time_of_its_own(world, launch):
    world.register({"capacity_wait_minutes": 10})
    world.ec2.refusals = [NO_CAPACITY] * 7
    begun = world.clock.now

    for number in range(2):
        with pytest.raises(NoCapacityYet, match=r"asks again at 2026-11-23T18:0\d:00Z, until 2026-11-23T18:11:00Z\. "):
            launch(task_token=f"round-{number}")
        waiting = world.load()
        assert (waiting.status, waiting.launch_started_at) == ("waiting", world.clock.now + 60)
        assert unseen_launches(waiting, set(), world.clock.now) == ()
        world.clock.now += 60
    launch(task_token="round-2")

    record = world.load()
    assert [asked["ClientToken"] for asked in world.ec2.launches] == [
        f"20261123-180000-attempt1-rung{index}" for index in range(8)
    ]
    assert [asked["SubnetId"] for asked in world.ec2.launches] == [*world.cloud.settings.subnet_ids] * 2 + [
        *world.cloud.settings.subnet_ids[:2]
    ]
    assert (record.status, record.launch_started_at, record.capacity_since) == ("launching", begun + 120, begun)
    assert world.instances() == [record.instance_id]
    # The machine's own timer counts from its own launch: 120 minutes of the run, 3 of them gone, and 10 more.
    tags = {tag["Key"]: tag["Value"] for tag in world.ec2.launches[-1]["TagSpecifications"][0]["Tags"]}
    assert tags["MaxMinutes"] == "127"
    assert len(record.rungs) == 4
    assert record.rungs[0].endswith(", again 2 times, last 2026-11-23T18:03:00Z")


def test_when_the_wait_is_over_the_verdict_says_how_long_and_names_each_rung(world, launch):
    world.register({"capacity_wait_minutes": 2})
    world.ec2.refusals = [NO_CAPACITY] * 6

    with pytest.raises(NoCapacityYet):
        launch()
    world.clock.now += 60
    with pytest.raises(CapacityUnavailable) as caught:
        launch(task_token="second")

    said = caught.value.message
    assert said.startswith(
        "Asked 2 times in 1 minutes, from 2026-11-23T18:01:00Z to 2026-11-23T18:02:00Z (capacity_wait_minutes 2). "
    )
    assert said.count(NO_CAPACITY) == 3
    assert world.instances() == []


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        (["VcpuLimitExceeded"] * 3, QuotaTooLow),
        (["Unsupported"] * 3, CapacityUnavailable),
        ([NO_CAPACITY, "UnauthorizedOperation"], PermissionMissing),
    ],
)
def test_what_waiting_cannot_change_ends_at_once(world, launch, codes, verdict):
    world.register({"capacity_wait_minutes": 60})
    world.ec2.refusals = codes

    with pytest.raises(verdict):
        launch()


def test_a_walk_that_ran_out_of_time_goes_on_at_its_next_rung_after_the_wait(world, launch, monkeypatch):
    world.register({"capacity_wait_minutes": 10})
    world.ec2.refusals = [NO_CAPACITY]
    monkeypatch.setattr(launching, "WALK_SECONDS", -1)

    with pytest.raises(NoCapacityYet):
        launch()
    launch(task_token="second")

    assert [asked["ClientToken"][-5:] for asked in world.ec2.launches] == ["rung0", "rung1"]


def test_a_round_whose_answer_was_lost_goes_on_at_the_same_rung(world, launch, monkeypatch):
    world.register({"capacity_wait_minutes": 10})
    world.ec2.refusals = [NO_CAPACITY] * 4
    with pytest.raises(NoCapacityYet):
        launch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launching, "_record", lambda *_: pytest.fail("the function dies here"))
        with pytest.raises(pytest.fail.Exception):
            launch(task_token="second")

    launch(task_token="again")

    assert [asked["ClientToken"][-5:] for asked in world.ec2.launches[-2:]] == ["rung4", "rung4"]
    assert len(world.instances()) == 1


def test_a_round_whose_end_could_not_be_recorded_asks_its_last_rung_again_with_the_same_token(
    world, launch, monkeypatch
):
    world.register({"capacity_wait_minutes": 10})
    world.ec2.refusals = [NO_CAPACITY] * 4
    claim = type(world.cloud.runs).claim_rung

    def refuse(self, record, changes):
        if "status" in changes:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow"}}, "UpdateItem")
        return claim(self, record, changes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(world.cloud.runs), "claim_rung", refuse)
        with pytest.raises(AwsUnavailable):
            launch()
    with pytest.raises(NoCapacityYet):
        launch(task_token="again")

    assert [asked["ClientToken"][-5:] for asked in world.ec2.launches] == ["rung0", "rung1", "rung2", "rung2"]
    assert world.load().rung == 3


def test_a_run_that_ended_while_it_waited_asks_no_more(world, launch):
    record = world.register({"capacity_wait_minutes": 10})
    world.ec2.refusals = [NO_CAPACITY] * 3
    with pytest.raises(NoCapacityYet):
        launch()
    world.cloud.runs.close(record, {"closed_at": world.clock.now, "task_token": ""})

    with pytest.raises(RunEnded):
        launch(task_token="second")

    assert len(world.ec2.launches) == 3


def test_a_call_that_another_one_has_overtaken_moves_no_round_on(world, launch):
    world.register({"capacity_wait_minutes": 10})
    world.ec2.refusals = [NO_CAPACITY] * 3

    def overtaken():
        if len(world.ec2.launches) == 3:
            begin(world.cloud, world.load(), 1, "second", world.load().fence + 1)

    world.ec2.on_launch = overtaken

    launch(task_token="first")

    assert (world.load().task_token, world.load().rung) == ("second", 2)
