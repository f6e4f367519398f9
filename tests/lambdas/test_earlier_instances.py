"""A later attempt's machine is told which instances the run had: its tag, the same for every call. Runs on moto."""

import pytest

from lambdas.core.records import Attempt, earlier_instances

LISTED = Attempt(1, "i-0a", "g4dn.2xlarge", "on_demand", "us-east-1a", 1)


def tag(launched):
    (tags,) = [spec["Tags"] for spec in launched["TagSpecifications"] if spec["ResourceType"] == "instance"]
    return {one["Key"]: one["Value"] for one in tags}["EarlierInstances"]


def test_each_attempt_names_all_before_it_in_their_order(world, launch):
    world.register()

    for attempt in (1, 2, 3):
        launch(attempt=attempt)

    first, second, _ = world.instances()
    assert [tag(launched) for launched in world.ec2.launches] == ["", first, f"{first} {second}"]


def test_an_instance_that_is_found_later_does_not_change_the_call(world, launch):
    world.launch(world.register())
    world.ec2.refusals = ["InternalError", "InternalError"]
    world.ec2.on_launch = lambda: world.cloud.runs.note(
        world.load(), {"attempts": (*world.load().attempts, Attempt(1, "i-0b", "g4dn.2xlarge", "spot", "a", 1))}
    )

    launch(attempt=2)

    first, *calls = world.ec2.launches
    assert tag(first) == ""
    assert [tag(call) for call in calls] == [world.load().attempts[0].instance_id] * 3


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        ({}, "i-0123456789abcdef0"), ({"instance_id": ""}, ""),
        ({"attempts": (LISTED,)}, "i-0a i-0123456789abcdef0"), ({"attempts": (LISTED,), "instance_id": "i-0a"}, "i-0a"),
    ],
)  # fmt: skip
def test_an_instance_that_only_reported_counts_too(make_record, changes, ids):
    assert earlier_instances(make_record(**changes)) == ids


def test_the_newest_ones_fit_into_a_tag(make_record):
    many = tuple(Attempt(n, f"i-{n:017x}", "g4dn.2xlarge", "spot", "a", 1) for n in range(1, 30))

    told = earlier_instances(make_record(attempts=many, instance_id=many[-1].instance_id))

    assert len(told) <= 256
    assert told.endswith(many[-1].instance_id)
