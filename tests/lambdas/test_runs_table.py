"""The runs table's conditions: late and double writers change nothing. Runs on moto."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from lambdas.adapters import clients, runs_table
from lambdas.adapters.runs_table import PAUSES_SECONDS, Superseded


@pytest.fixture
def runs(world):
    """Return the table."""
    return world.cloud.runs


def test_a_report_that_lost_the_race_to_a_newer_one_is_refused(world, runs):
    read_by_both = world.register()
    runs.advance(read_by_both, {"seq": 7, "state": "completed"})

    with pytest.raises(Superseded):
        runs.advance(read_by_both, {"seq": 6, "state": "running"})
    with pytest.raises(Superseded):
        runs.advance(read_by_both, {"seq": 7, "state": "failed"})

    assert (world.load().seq, world.load().state) == (7, "completed")


def test_a_report_of_an_attempt_that_was_followed_by_another_is_refused(world, runs):
    of_first_attempt = world.register()
    runs.begin_stage(of_first_attempt, {"stage": "boot", "attempt": 2, "task_token": "token-2"})

    with pytest.raises(Superseded):
        runs.advance(of_first_attempt, {"seq": 9, "state": "completed"})
    with pytest.raises(Superseded):
        runs.note_attempt(of_first_attempt, {"instance_id": "i-1"})
    with pytest.raises(Superseded):
        runs.begin_stage(of_first_attempt, {"stage": "boot", "attempt": 1, "task_token": "token-1"})

    assert (world.load().attempt, world.load().state, world.load().task_token) == (2, "", "token-2")


def test_after_the_end_nothing_begins_and_nothing_is_launched(world, runs):
    record = world.register()
    runs.close(record, {"closed_at": 5, "task_token": ""})

    with pytest.raises(Superseded):
        runs.begin_stage(record, {"stage": "boot", "task_token": "late"})
    with pytest.raises(Superseded):
        runs.note_attempt(record, {"instance_id": "i-1"})
    with pytest.raises(Superseded):
        runs.close(record, {"closed_at": 6})

    assert (world.load().closed_at, world.load().task_token, world.load().instance_id) == (5, "", "")


def test_the_verdict_is_written_once(world, runs):
    record = world.register()
    runs.finish(record, {"ended_at": 5, "status": "failed", "cost_usd": 0.1})

    with pytest.raises(Superseded):
        runs.finish(record, {"ended_at": 6, "status": "completed", "cost_usd": 0.2})

    assert world.load().status == "failed"


def test_an_execution_and_a_run_id_are_each_registered_once(world, runs):
    record = world.register()

    assert world.admit(replace(record, run_id="20261123-180000-2")) is False
    assert world.admit(replace(record, execution_arn="arn:another")) is False

    assert runs.load("20261123-180000-2") is None
    assert runs.of_execution("arn:another") is None


def test_nothing_is_noted_of_a_run_that_is_not_there(world, runs):
    record = world.register()

    with pytest.raises(Superseded):
        runs.note(replace(record, run_id="20200101-000000"), {"interruption_at": 1})

    assert runs.load("20200101-000000") is None


class Busy:
    """DynamoDB whose item is held by a transaction for so many writes."""

    def __init__(self, conflicts):
        self.conflicts, self.asked = conflicts, 0

    def __getattr__(self, name):
        return getattr(clients.client("dynamodb"), name)

    def update_item(self, **given):
        self.asked += 1
        if self.asked <= self.conflicts:
            raise ClientError({"Error": {"Code": "TransactionConflictException", "Message": "ongoing"}}, "UpdateItem")
        return clients.client("dynamodb").update_item(**given)


@pytest.fixture
def busy(monkeypatch):
    """Return a function that lets so many writes meet a transaction, without the pauses between them."""

    def make(conflicts):
        table = Busy(conflicts)
        monkeypatch.setattr(runs_table, "client", lambda *_asked: table)
        monkeypatch.setattr(runs_table.time, "sleep", lambda _seconds: None)
        return table

    return make


def test_a_write_that_meets_a_transaction_is_made_again(world, runs, busy):
    record = world.register()
    busy(len(PAUSES_SECONDS))

    runs.note(record, {"progress": "training 3/9"})

    assert world.load().progress == "training 3/9"


def test_a_write_that_meets_transactions_for_ever_ends_as_what_it_is(world, runs, busy):
    record = world.register()
    table = busy(1000)

    with pytest.raises(ClientError, match="TransactionConflictException"):
        runs.note(record, {"progress": "training 3/9"})

    assert table.asked == len(PAUSES_SECONDS) + 1


def test_a_write_that_lost_its_race_to_the_transaction_it_met_is_superseded(world, runs, busy):
    record = world.register()
    runs.finish(record, {"ended_at": 5, "status": "failed", "cost_usd": 0.1, "closed_at": 5})
    busy(2)

    with pytest.raises(Superseded):
        runs.close(record, {"closed_at": 6})


def test_runs_are_listed_by_month_the_newest_first(world, runs):
    record = world.register()
    for day in ("20261101", "20261130", "20261201"):
        world.admit(replace(record, run_id=f"{day}-000000", execution_arn=f"arn:{day}"))

    assert [r.run_id[:8] for r in runs.since("202611")] == ["20261130", "20261123", "20261101"]
    assert [r.run_id[:8] for r in runs.newest(2)] == ["20261201", "20261130"]


def test_the_newest_runs_are_read_over_all_pages(world, runs):
    # An answer of DynamoDB holds 1 MB at most: these are about 1.5 MB.
    record = world.register()
    for second in range(1, 6):
        large = {**record.request, "filler": "x" * 300_000}
        run_id = f"20261124-18000{second}"
        assert world.admit(replace(record, run_id=run_id, execution_arn=f"arn:{second}", request=large))

    assert [r.run_id for r in runs.newest(1000)] == [f"20261124-18000{s}" for s in (5, 4, 3, 2, 1)] + [record.run_id]
    assert [r.run_id for r in runs.newest(2)] == ["20261124-180005", "20261124-180004"]
