"""State LaunchInstance: token first, then one instance from the ladder, however often it is called. Runs on moto."""

import re

import pytest

from contracts.reasons import CapacityUnavailable, LaunchRefused, PermissionMissing, QuotaTooLow, RunEnded
from lambdas.flows import launching
from lambdas.flows.launching import begin
from tests.lambdas.conftest import EXECUTION_ARN

NO_CAPACITY = "InsufficientInstanceCapacity"


def test_the_token_is_stored_before_the_instance_is_asked_for(world, launch):
    world.register()
    seen = []
    world.ec2.on_launch = lambda: seen.append(
        (world.load().task_token, world.load().stage, world.load().launch_ended_at)
    )

    launch(task_token="token-1")

    assert seen == [("token-1", "boot", 0)]


def test_one_instance_is_launched_with_the_run_s_tags(world, launch):
    world.register()

    launch()

    (launched,) = world.ec2.launches
    tags = {
        spec["ResourceType"]: {t["Key"]: t["Value"] for t in spec["Tags"]} for spec in launched["TagSpecifications"]
    }
    assert set(tags) == {"instance", "volume", "network-interface"}
    assert tags["instance"] == tags["volume"] == {
        "Name": "ChronosTraining-20261123-180000-1", "Project": "ChronosTraining", "RunId": "20261123-180000",
        "Attempt": "1", "RunPrefix": "phase1/2026/11/23-180000/", "MaxMinutes": "129",
        "EarlierInstances": "", "Execution": EXECUTION_ARN,
    }  # fmt: skip
    record = world.load()
    assert record.instance_id == record.attempts[0].instance_id == world.instances()[0]
    assert record.launch_ended_at >= record.launch_started_at > 0
    assert "UserData" not in launched


def test_a_spot_request_is_one_time_and_ends_in_termination(world, launch):
    world.register({"market": "spot"})

    launch()

    options = world.ec2.launches[0]["InstanceMarketOptions"]
    assert options["SpotOptions"] == {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
    assert "spot-instances-request" in {spec["ResourceType"] for spec in world.ec2.launches[0]["TagSpecifications"]}


def test_a_price_limit_is_ec2_s_on_spot_and_skips_what_is_dearer_on_demand(world, launch):
    kinds = ["g4dn.4xlarge", "g4dn.xlarge"]
    world.register({"market": "spot_then_on_demand", "instance_types": kinds, "max_usd_per_hour": 0.6})
    zones = len(world.cloud.settings.subnet_ids)
    world.ec2.refusals = ["SpotMaxPriceTooLow"] * 2 * zones

    launch()

    spot, on_demand = world.ec2.launches[: 2 * zones], world.ec2.launches[2 * zones :]
    assert {asked["InstanceMarketOptions"]["SpotOptions"]["MaxPrice"] for asked in spot} == {"0.600000"}
    assert [(asked["InstanceType"], "InstanceMarketOptions" in asked) for asked in on_demand] == [
        ("g4dn.xlarge", False)
    ]
    skipped = [line for line in world.load().rungs if "AboveMaxUsdPerHour" in line]
    assert len(skipped) == zones
    assert all("on_demand g4dn.4xlarge" in line for line in skipped)


def test_each_answer_of_ec2_is_on_record_with_its_time(world, launch):
    world.register()
    world.ec2.refusals = [NO_CAPACITY]

    launch()

    first = world.load().rungs[0]
    assert re.fullmatch(
        rf"2026-11-23T18:\d\d:\d\dZ on_demand g4dn.2xlarge in subnet-\w+: {NO_CAPACITY} \(\d+\.\d s\)", first
    )


def test_the_ladder_goes_on_until_a_zone_has_capacity(world, launch):
    world.register()
    world.ec2.refusals = [NO_CAPACITY, NO_CAPACITY]

    launch()

    assert [asked["SubnetId"] for asked in world.ec2.launches] == list(world.cloud.settings.subnet_ids)
    assert len({asked["ClientToken"] for asked in world.ec2.launches}) == 3
    assert f": {NO_CAPACITY} (" in world.load().rungs[0]
    assert world.load().rungs[2].split(": ")[1].startswith(world.load().instance_id)
    assert world.load().attempts[0].zone == "us-east-1c"


def test_without_capacity_anywhere_every_rung_is_named(world, launch):
    world.register({"market": "spot_then_on_demand"})
    world.ec2.refusals = [NO_CAPACITY] * 6

    with pytest.raises(CapacityUnavailable) as caught:
        launch()

    for market in ("spot", "on_demand"):
        for subnet in world.cloud.settings.subnet_ids:
            assert f"{market} g4dn.2xlarge in {subnet}: {NO_CAPACITY}" in caught.value.message
    assert world.instances() == []
    assert world.load().launch_ended_at > 0


def test_a_quota_is_reported_as_a_quota(world, launch):
    world.register()
    world.ec2.refusals = ["VcpuLimitExceeded"] * 3

    with pytest.raises(QuotaTooLow, match="--desired-value 8"):
        launch()


def test_a_refusal_that_repeats_everywhere_ends_the_walk_at_once(world, launch):
    world.register()
    world.ec2.refusals = ["UnauthorizedOperation", ""]

    with pytest.raises(PermissionMissing, match=r"RunInstances .*UnauthorizedOperation"):
        launch()

    assert len(world.ec2.launches) == 1


def test_the_walk_ends_when_its_time_is_over(world, launch, monkeypatch):
    world.register()
    monkeypatch.setattr(launching, "WALK_SECONDS", -1)
    world.ec2.refusals = [NO_CAPACITY] * 3

    with pytest.raises(CapacityUnavailable):
        launch()

    assert len(world.ec2.launches) == 1


def test_the_same_attempt_called_twice_has_one_instance_and_waits_with_the_newer_token(world, launch):
    world.register()

    launch(task_token="first")
    started = world.load().launch_started_at
    world.clock.now += 30
    launch(task_token="second")

    assert len(world.instances()) == 1
    assert len(world.load().attempts) == 1
    assert world.load().task_token == "second"
    assert world.load().launch_started_at == started


def test_a_repeated_call_does_not_try_again_what_refused_before(world, launch):
    world.register()
    world.ec2.refusals = [NO_CAPACITY]

    launch()
    # The first zone has capacity now: walking the ladder again would give a second instance.
    launch()

    assert len(world.instances()) == 1
    assert world.load().instance_id == world.instances()[0]
    assert world.load().launch_ended_at > 0


def test_the_run_that_ended_during_the_launch_keeps_no_instance(world, launch):
    record = world.register()
    world.ec2.on_launch = lambda: world.cloud.runs.close(record, {"closed_at": 1, "task_token": ""})

    with pytest.raises(RunEnded):
        launch()

    (instance_id,) = world.instances()
    assert world.instance_state(instance_id) == "terminated"


def test_a_call_after_the_end_launches_nothing_and_says_so(world, launch):
    world.register(closed_at=1)

    with pytest.raises(RunEnded):
        launch()

    assert world.ec2.launches == []


def test_a_call_of_an_earlier_attempt_launches_nothing_and_ends_quietly(world, launch):
    world.register(attempt=2)

    launch()

    assert world.ec2.launches == []


def test_a_run_that_is_not_registered_launches_nothing(world, launch):
    with pytest.raises(LaunchRefused, match="not registered"):
        launch()

    assert world.ec2.launches == []


def test_the_next_attempt_starts_afresh_and_ends_the_earlier_instance(world, launch):
    first = world.launch(world.register())
    world.report(first, 7, "running")
    world.cloud.runs.note(first, {"seq": 7, "state": "interrupted", "progress": "training 3/8 windows", "booted_at": 5})

    launch(attempt=2)

    assert world.instance_state(first.instance_id) == "terminated"
    record = world.load()
    assert (record.attempt, record.seq, record.state, record.progress, record.booted_at) == (2, 0, "", "", 0)
    assert [a.attempt for a in record.attempts] == [1, 2]
    assert record.attempts[0].ended_at > 0
    assert record.instance_id != first.instance_id
    # The old attempt's last report is still in the bucket and settles nothing.
    assert world.states.settlements() == []


def test_an_instance_that_reported_before_the_launch_returned_settles_the_boot(world, launch, monkeypatch):
    world.register()
    original = launching._record

    def report_first(found, record, launched, log):
        world.report(record.with_changes({"instance_id": launched.instance_id}), 1, "booting")
        return original(found, record, launched, log)

    monkeypatch.setattr(launching, "_record", report_first)

    launch(task_token="token-1")

    ((kind, given),) = world.states.settlements()
    assert (kind, given["taskToken"]) == ("success", "token-1")


def test_the_next_attempt_remembers_that_the_last_one_s_launch_had_no_answer(world):
    asked_at = world.clock.now - 15
    record = world.register(stage="boot", task_token="token", rung_at=asked_at)

    begun = begin(world.cloud, record, 2, "token-2", 0)

    assert (begun.rung_at, begun.in_flight_until) == (0, asked_at + 150)
    assert world.load().in_flight_until == asked_at + 150
