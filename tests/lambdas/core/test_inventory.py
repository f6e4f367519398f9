"""The cleanup planner and the receipt. Runs under pytest, offline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import check
from lambdas.core.inventory import (
    KINDS,
    MOST_BLIND_ROUNDS,
    MOST_ROUNDS,
    TAGGED_KINDS,
    Inventory,
    Resource,
    finished,
    in_flight_until,
    plan,
    receipt,
    unseen_launches,
)
from lambdas.core.records import Attempt

NOW = 1795456800 + 600
INSTANCE = Attempt(1, "i-0123456789abcdef0", "g4dn.2xlarge", "on_demand", "us-east-1a", NOW - 20)

resources = st.builds(
    Resource, st.sampled_from(TAGGED_KINDS), st.text("abc", min_size=1, max_size=3),
    st.sampled_from(["running", "shutting-down", "available", "in-use"]), st.booleans(),
)  # fmt: skip
inventories = st.builds(
    Inventory, st.lists(resources, max_size=8).map(tuple), st.lists(st.text(max_size=3), max_size=2).map(tuple)
)


@pytest.mark.parametrize(
    ("schedules", "unknown", "state", "everything_gone"),
    [
        (("20261123-180000",), {}, "armed", True),
        ((), {}, "gone", True),
        (None, {"schedules": "no answer"}, "unknown", False),
    ],
)
def test_the_schedule_that_waits_for_the_verdict_is_no_leftover(schedules, unknown, state, everything_gone):
    inventory = Inventory(schedules=schedules, unknown=unknown)

    document = receipt("20261123-180000", "state_machine", "2026-11-23T18:30:00Z", inventory, [])

    assert inventory.empty
    assert inventory.remaining() == []
    assert document["inventory"]["schedules"]["state"] == state
    assert document["everything_gone"] is everything_gone


def test_a_kind_that_cannot_be_looked_at_counts_as_left_and_keeps_nothing_from_being_deleted():
    volume = Resource("volumes", "vol-1", "available")
    inventory = Inventory((volume,), unknown={"instances": "refused", "addresses": "no answer"})

    assert not inventory.empty
    assert not inventory.instances_gone
    assert plan(inventory) == [volume]
    left = ["vol-1 (available)", "instances (unknown: refused)", "addresses (unknown: no answer)"]
    assert inventory.remaining() == left


@pytest.mark.parametrize(
    ("inventory", "rounds", "expected"),
    [
        (Inventory(), 1, True),
        (Inventory(unknown={"addresses": "refused"}), MOST_BLIND_ROUNDS - 1, False),
        (Inventory(unknown={"addresses": "refused"}), MOST_BLIND_ROUNDS, True),
        (Inventory(unseen=("a launch",), unknown={"addresses": "refused"}), MOST_BLIND_ROUNDS, False),
        (Inventory(unseen=("a launch",)), MOST_ROUNDS, True),
    ],
)
def test_cleanup_waits_longer_for_what_goes_than_for_what_it_cannot_see(inventory, rounds, expected):
    assert finished(inventory, rounds) is expected


@given(inventories)
def test_only_what_was_found_is_deleted(inventory):
    assert set(plan(inventory)) <= set(inventory.resources)


@given(inventories)
def test_volumes_and_interfaces_wait_until_no_instance_is_left(inventory):
    kinds = {r.kind for r in plan(inventory)}

    assert "instances" not in kinds or kinds == {"instances"}
    assert all(r.deletable for r in plan(inventory) if r.kind != "instances")


@given(inventories)
def test_deleting_what_is_planned_ends_with_nothing_that_can_be_deleted(inventory):
    left = set(inventory.resources)
    for _ in range(4):
        left -= set(plan(Inventory(tuple(left))))
        left -= {r for r in left if r.kind == "instances" and r.state == "shutting-down"}

    # What stays belongs to its owner.
    assert not any(r.deletable for r in left)


@given(inventories)
def test_the_receipt_says_gone_only_when_nothing_is_left(inventory):
    document = check(
        "cleanup_status", receipt("20261123-180000", "state_machine", "2026-11-23T18:30:00Z", inventory, [])
    )

    assert set(document["inventory"]) == set(KINDS)
    assert document["everything_gone"] == all(kind["state"] == "gone" for kind in document["inventory"].values())
    assert document["everything_gone"] == (not inventory.resources and not inventory.unseen)


@pytest.mark.parametrize(
    ("facts", "seen", "expected"),
    [
        ({"rung_at": NOW - 10, "launch_ended_at": 0}, set(), ["a launch of attempt 1 in flight"]),
        ({"rung_at": NOW - 150, "launch_ended_at": 0}, set(), []),
        ({"attempts": (INSTANCE,)}, set(), ["i-0123456789abcdef0 (not visible yet)"]),
        ({"attempts": (INSTANCE,)}, {"i-0123456789abcdef0"}, []),
        ({}, set(), []),
    ],
    ids=["in flight", "the function is long over", "too new to be seen", "seen", "nothing launched"],
)
def test_a_launch_that_may_still_give_an_instance_counts_as_left(make_record, facts, seen, expected):
    assert list(unseen_launches(make_record(**facts), seen, NOW)) == expected


def test_an_old_or_ended_instance_that_is_not_seen_is_gone(make_record):
    old = Attempt(1, "i-1", "g4dn.2xlarge", "spot", "a", NOW - 301)
    ended = Attempt(2, "i-2", "g4dn.2xlarge", "spot", "a", NOW - 5, ended_at=NOW)

    assert unseen_launches(make_record(attempts=(old, ended)), set(), NOW) == ()


def test_a_launch_of_an_earlier_attempt_without_an_answer_is_not_forgotten(make_record):
    asked = make_record(stage="boot", instance_id="", rung_at=NOW - 20, launch_ended_at=0)
    carried = in_flight_until(asked)
    later = make_record(attempt=2, rung_at=NOW - 5, launch_ended_at=NOW - 1, in_flight_until=carried, instance_id="")

    assert carried == NOW - 20 + 150
    assert unseen_launches(later, set(), NOW) == ("a launch of an earlier attempt in flight",)
    assert unseen_launches(later, set(), carried) == ()


def test_an_instance_that_reported_though_nobody_heard_of_its_launch_is_expected_until_ec2_shows_it(make_record):
    record = make_record(rung_at=NOW - 40, launch_ended_at=NOW - 10, booted_at=NOW - 10, attempts=())

    assert unseen_launches(record, set(), NOW) == (f"{record.instance_id} (not visible yet)",)
    assert unseen_launches(record, {record.instance_id}, NOW) == ()
    assert unseen_launches(record, set(), NOW + 290) == ()
    assert in_flight_until(record) == NOW + 290
