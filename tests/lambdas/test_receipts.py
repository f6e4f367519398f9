"""The receipt when two functions clean up a run at once: the later look stands, whoever writes last. Runs on moto."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.documents import dump
from contracts.layout import CLEANUP_STATUS, run_prefix
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.objects import Objects
from lambdas.core.inventory import Inventory, Resource, receipt, supersedes
from lambdas.flows.cleaning import clean

RUN_ID = "20261123-180000"
KEY = run_prefix(RUN_ID) + CLEANUP_STATUS
LEFT = Inventory((Resource("instances", "i-0123456789abcdef0", "shutting-down"),))


def look(second, gone, net="state_machine"):
    return receipt(RUN_ID, net, f"2026-11-23T18:00:{second:02d}Z", Inventory() if gone else LEFT, [])


looks = st.builds(look, st.integers(0, 4), st.booleans())


@given(st.lists(looks, min_size=1, max_size=5))
@settings(deadline=None)
def test_in_whatever_order_receipts_are_written_that_of_the_last_look_stands(written):
    standing = None
    for document in written:
        standing = document if supersedes(document, standing) else standing

    last = max(document["checked_at"] for document in written)
    assert standing["checked_at"] == last
    assert standing["everything_gone"] == any(d["everything_gone"] for d in written if d["checked_at"] == last)


@pytest.fixture
def leaving(world, monkeypatch):
    """Give a run whose instance is on its way out and cannot be hurried."""
    record = world.launch(world.register())
    monkeypatch.setattr(type(world.cloud.compute), "delete", lambda self, resource: "requested")
    return record


def overtake(world, monkeypatch, at):
    """Let the sweep look later than the cleanup that is at work, and write before it."""
    real = Objects.versioned

    def versioned(self, name, key):
        found = real(self, name, key)
        monkeypatch.setattr(Objects, "versioned", real)
        gone = receipt(RUN_ID, "status_change", at, Inventory(), [])
        world.put(KEY, dump("cleanup_status", gone))
        return found

    monkeypatch.setattr(Objects, "versioned", versioned)


@pytest.mark.parametrize("before", [False, True], ids=["first receipt", "one before"])
def test_a_cleanup_that_the_sweep_overtook_does_not_write_left_over_gone(world, leaving, monkeypatch, before):
    if before:
        world.put(KEY, dump("cleanup_status", receipt(RUN_ID, "state_machine", "2026-11-23T18:00:30Z", LEFT, [])))
    overtake(world, monkeypatch, "2026-11-23T18:01:07Z")

    found = clean(world.cloud, RUN_ID, leaving, "state_machine", -1)

    assert not found.empty
    assert (world.receipt()["everything_gone"], world.receipt()["checked_by"]) == (True, "status_change")


def test_a_later_look_replaces_a_receipt_that_says_left(world, leaving, monkeypatch):
    clean(world.cloud, RUN_ID, leaving, "state_machine", -1)
    assert world.receipt()["everything_gone"] is False

    world.ec2.terminate_instances(InstanceIds=[leaving.instance_id])
    world.clock.now += 1
    clean(world.cloud, RUN_ID, leaving, "status_change", -1)

    assert (world.receipt()["everything_gone"], world.receipt()["checked_by"]) == (True, "status_change")


def test_what_is_found_after_everything_was_gone_is_said(world, leaving):
    world.put(KEY, dump("cleanup_status", receipt(RUN_ID, "state_machine", "2026-11-23T18:00:30Z", Inventory(), [])))

    clean(world.cloud, RUN_ID, leaving, "dead_man", -1)

    assert world.receipt()["everything_gone"] is False


def test_a_receipt_that_nobody_can_read_is_replaced(world, leaving):
    world.put(KEY, json.dumps({"everything_gone": True}))

    clean(world.cloud, RUN_ID, leaving, "state_machine", -1)

    assert world.receipt()["everything_gone"] is False


def test_a_writer_who_always_comes_second_says_so(world, leaving, monkeypatch):
    monkeypatch.setattr(Objects, "replace", lambda *_arguments: False)

    with pytest.raises(AwsUnavailable, match="another writer"):
        clean(world.cloud, RUN_ID, leaving, "state_machine", -1)
