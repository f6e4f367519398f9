"""The cleanup planner over any inventory: nothing too early, nothing forgotten, nobody else's. Runs under pytest."""

from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import dump, parse
from lambdas.core.inventory import (
    KINDS,
    LAUNCH_IN_FLIGHT_SECONDS,
    SCHEDULES,
    TAGGED_KINDS,
    VISIBILITY_SECONDS,
    Inventory,
    Resource,
    plan,
    receipt,
    unseen_launches,
)
from tests.properties.budget import examples
from tests.properties.documents import CREATED_AT, INSTANCE, OTHER_INSTANCE, RUN_ID, records

resources = st.builds(
    Resource,
    st.sampled_from(TAGGED_KINDS),
    st.text("0123456789abcdef", min_size=1, max_size=4),
    st.sampled_from(["pending", "running", "shutting-down", "available", "in-use"]),
    st.booleans(),
)
inventories = st.builds(
    Inventory,
    st.lists(resources, max_size=8).map(tuple),
    st.lists(st.sampled_from(["a launch", "i-1 (not visible yet)"]), max_size=2).map(tuple),
    unknown=st.dictionaries(st.sampled_from(KINDS), st.sampled_from(["refused", "no answer"]), max_size=3),
    schedules=st.none() | st.just(()) | st.just((RUN_ID,)),
)
seen_ids = st.sets(st.sampled_from([INSTANCE, OTHER_INSTANCE]))
moments = st.integers(CREATED_AT, CREATED_AT + 100_000)


@examples(900)
@given(inventories)
def test_only_what_was_found_is_deleted_and_instances_go_first(inventory):
    todo = plan(inventory)

    assert set(todo) <= set(inventory.resources)
    kinds = {resource.kind for resource in todo}
    if "instances" in kinds:
        assert kinds == {"instances"}


@examples(600)
@given(inventories)
def test_repeating_the_plan_ends_with_nothing_but_what_is_not_ours_to_delete(inventory):
    """Each round, what was asked to go goes; launches that were not visible are settled after the first."""
    left = Inventory(inventory.resources)
    for _ in range(len(inventory.resources) + 2):
        gone = set(plan(left)) | {r for r in left.resources if r.state == "shutting-down"}
        left = Inventory(tuple(r for r in left.resources if r not in gone))

    assert all(not r.deletable for r in left.resources)
    if all(r.deletable or r.kind == "instances" for r in inventory.resources):
        assert left.empty


@examples(700)
@given(inventories, st.sampled_from(["state_machine", "status_change", "dead_man", "stack_deletion"]))
def test_the_receipt_names_everything_that_is_left_and_says_gone_of_nothing_else(inventory, net):
    document = receipt(RUN_ID, net, "2026-11-23T18:00:00Z", inventory, [])

    assert parse("cleanup_status", dump("cleanup_status", document)) == document
    states = {kind: entry["state"] for kind, entry in document["inventory"].items()}
    assert document["everything_gone"] == (inventory.empty and SCHEDULES not in inventory.unknown)
    assert document["everything_gone"] == (set(states.values()) <= {"gone", "armed"})
    assert {kind for kind, state in states.items() if state == "unknown"} == set(inventory.unknown)
    assert all(document["inventory"][kind]["problem"] == why for kind, why in inventory.unknown.items())
    assert [kind for kind, state in states.items() if state == "armed"] == (
        [SCHEDULES] if inventory.schedules and SCHEDULES not in inventory.unknown else []
    )
    named = [item for kind in document["inventory"].values() for item in kind["left"]]
    assert len(named) == len(inventory.resources) + len(inventory.unseen)


@examples(700)
@given(records, seen_ids, moments)
def test_a_launch_is_believed_gone_only_when_it_is_recorded_as_ended_seen_or_old(made, seen, now):
    pending = " ".join(unseen_launches(made, seen, now))

    for attempt in made.attempts:
        young = now - attempt.launched_at < VISIBILITY_SECONDS
        hidden = attempt.instance_id not in seen and not attempt.ended_at
        assert not (young and hidden) or attempt.instance_id in pending
    if made.rung_at > made.launch_ended_at and now - made.rung_at < LAUNCH_IN_FLIGHT_SECONDS:
        assert "in flight" in pending
    later = now + LAUNCH_IN_FLIGHT_SECONDS + VISIBILITY_SECONDS + 100_000
    assert unseen_launches(made, seen, later) == ()
