"""State AcceptRun called late, at once with others, by a name used again, or while the stack goes. Runs on moto."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from contracts import layout
from contracts.reasons import RunEnded, StackClosing
from lambdas import accept_run
from lambdas.adapters import clients, runs_table, settings
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.runs_table import PAUSES_SECONDS, RunsTable
from lambdas.adapters.schedules import Schedules
from lambdas.flows import accepting

RUN_ID = "20261123-180000"
STOCKS = {"dataset": "stocks"}
LATER = "2027-03-03T18:00:00.000Z"
DAY = 86400


@pytest.fixture
def accept(world, event):
    """Return a function that runs the handler on a bucket with its inputs."""
    world.put_inputs()

    def call(request=STOCKS, **changes):
        return accept_run.handler({**event("state_accept_run"), "request": request, **changes}, world.context)

    return call


@pytest.fixture
def rich(monkeypatch):
    """Give the month a budget for hundreds of runs."""
    monkeypatch.setenv("MONTHLY_BUDGET_USD", "100000")
    settings.settings.cache_clear()


def _armed_at(run_id=RUN_ID):
    found = clients.client("scheduler").get_schedule(Name=run_id, GroupName="dead-men")
    return datetime.fromisoformat(found["ScheduleExpression"][3:-1]).replace(tzinfo=UTC).timestamp()


def _end(world):
    world.cloud.runs.note(world.load(), {"closed_at": world.clock.now, "ended_at": world.clock.now, "status": "failed"})


def _arn(name):
    return f"arn:aws:states:us-east-1:123456789012:execution:ChronosTraining-training:{name}"


def test_more_than_a_hundred_executions_of_one_second_are_a_run_each(world, accept, rich):
    short = {**STOCKS, "max_runtime_minutes": 5}
    ids = [accept(short, execution_arn=_arn(f"many-{n}"))["run_id"] for n in range(110)]

    assert ids[:3] == [RUN_ID, f"{RUN_ID}-2", f"{RUN_ID}-3"]
    assert len(set(ids)) == 110
    assert {record.run_id for record in world.cloud.runs.newest(1000)} == set(ids)
    assert accept(short, execution_arn=_arn("many-109"))["run_id"] == ids[-1]
    # What is named after a run has room for the longest run id.
    assert max(len(name) for run_id in ids for name in Schedules.names(run_id)) <= 64
    assert len(f"{max(ids, key=len)}-attempt5-rung999") <= 64
    assert all(layout.run_prefix(run_id).startswith(f"phase1/2026/11/23-180000-{run_id[16:]}") for run_id in ids[1:])


class Busy:
    """DynamoDB whose transactions meet others first."""

    def __init__(self, real, conflicts):
        self._real, self.conflicts = real, conflicts

    def __getattr__(self, name):
        return getattr(self._real, name)

    def transact_write_items(self, **given):
        if self.conflicts:
            self.conflicts -= 1
            answer = {
                "Error": {"Code": "TransactionCanceledException", "Message": ""},
                "CancellationReasons": [{"Code": "None"}, {"Code": "None"}, {"Code": "TransactionConflict"}],
            }
            raise ClientError(answer, "TransactWriteItems")
        return self._real.transact_write_items(**given)


@pytest.fixture
def busy(monkeypatch):
    """Return a function that lets so many transactions meet others, without the pauses between them."""

    def make(conflicts):
        table = Busy(clients.client("dynamodb"), conflicts)
        monkeypatch.setattr(runs_table, "client", lambda *_asked: table)
        for module in (runs_table, accepting):
            monkeypatch.setattr(module.time, "sleep", lambda _seconds: None)
        return table

    return make


def test_a_registration_that_meets_others_all_along_is_tried_on(accept, busy):
    table = busy(5 * (len(PAUSES_SECONDS) + 1))

    assert accept()["run_id"] == RUN_ID
    assert table.conflicts == 0


def test_a_registration_that_meets_others_for_ever_is_repeated_by_the_state(accept, busy, monkeypatch):
    busy(10**9)
    monkeypatch.setattr(accepting, "RESERVING_SECONDS", 0.05)

    with pytest.raises(AwsUnavailable, match="expected to reserve a cost within"):
        accept()


def test_a_name_that_step_functions_has_freed_starts_a_run(world, accept):
    accept()
    _end(world)
    world.clock.now += 100 * DAY

    later, again = accept(started_at=LATER), accept(started_at=LATER)

    assert later == again
    assert later["run_id"] == "20270303-180000"
    assert world.cloud.runs.of_execution(_arn("run-1")).run_id == later["run_id"]
    assert world.load().ended_at


def test_a_name_whose_earlier_record_is_gone_starts_a_run_too(world, accept):
    accept()
    clients.client("dynamodb").delete_item(TableName="runs", Key={"id": {"S": RUN_ID}})
    world.clock.now += 100 * DAY

    assert accept(started_at=LATER)["run_id"] == "20270303-180000"


def test_a_redriven_execution_keeps_its_start_and_its_run(world, accept):
    accept()
    _end(world)
    world.clock.now += 10 * DAY

    with pytest.raises(RunEnded, match="It ended as failed"):
        accept()


def test_no_run_is_accepted_once_the_stack_is_being_deleted(world, accept):
    world.cloud.runs.close_stack(world.clock.now)
    world.cloud.runs.close_stack(world.clock.now)

    with pytest.raises(StackClosing):
        accept()
    assert world.cloud.runs.newest(1) == []
    assert not world.armed()
    assert world.cloud.runs.month("202611").committed_usd == 0

    world.cloud.runs.open_stack(world.clock.now)
    assert accept()["run_id"] == RUN_ID


def test_a_late_call_arms_nothing_for_a_run_that_has_ended(world, accept, monkeypatch):
    accept()
    world.cloud.schedules.disarm(RUN_ID)
    seen = iter([world.load()])
    _end(world)
    # What it read before it was frozen.
    monkeypatch.setattr(RunsTable, "of_execution", lambda *_: next(seen))

    with pytest.raises(RunEnded):
        accept()

    assert not world.armed()


def test_a_call_that_is_overtaken_while_it_arms_lets_the_sweep_look_and_disarm_soon(world, accept, monkeypatch):
    real = Schedules.arm

    def overtaken(self, run_id, at, fired=""):
        real(self, run_id, at, fired)
        if not world.load().ended_at:
            _end(world)

    monkeypatch.setattr(Schedules, "arm", overtaken)

    with pytest.raises(RunEnded):
        accept()

    assert _armed_at() == world.clock.now + accepting.SOONEST_SECONDS


def test_the_manifest_stays_what_it_was_for_a_call_that_comes_late(world, accept):
    accept()
    key = f"{layout.run_prefix(RUN_ID)}manifest.json"
    before = world.document(key)
    world.put("datasets/stocks/more.csv", "unique_id,ds,y\nB,2026-01-01,1\n")

    accept()

    assert world.document(key) == before


@pytest.mark.parametrize(
    ("request_document", "boot_seconds"),
    [
        ({"max_runtime_minutes": 10, "boot_timeout_seconds": 3600}, 540),
        ({"max_runtime_minutes": 120, "boot_timeout_seconds": 3600}, 3600),
        ({"max_runtime_minutes": 0.5, "boot_timeout_seconds": 60}, 1),
    ],
)
def test_a_boot_may_not_outlast_the_deadline_nor_any_wait_the_dead_man(world, accept, request_document, boot_seconds):
    asked = {**STOCKS, "heartbeat_timeout_seconds": 180, **request_document}
    # The clock stands at a minute after the start.
    accepted = accept(asked)

    assert accepted["boot_timeout_seconds"] == boot_seconds
    longest = max(asked["boot_timeout_seconds"], asked["heartbeat_timeout_seconds"])
    assert _armed_at() > world.load().deadline_at + longest


def test_a_run_that_is_registered_by_another_call_at_the_same_time_is_this_one(world, accept, monkeypatch):
    real = RunsTable.register
    others = iter([1])

    def overtaken(self, record, month, replaced=""):
        for _ in others:
            assert real(self, replace(record), month, replaced)
        return real(self, record, month, replaced)

    monkeypatch.setattr(RunsTable, "register", overtaken)

    assert accept()["run_id"] == RUN_ID
    assert [record.run_id for record in world.cloud.runs.newest(10)] == [RUN_ID]
