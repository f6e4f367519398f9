"""The monthly budget: kept by runs that are accepted at once, lost answers and doubled endings. Runs on moto."""

from dataclasses import replace

import pytest
from botocore.exceptions import ClientError

from contracts.reasons import MonthlyBudgetExceeded
from lambdas import accept_run, record_run
from lambdas.adapters import clients, runs_table, settings
from lambdas.adapters.clients import AwsUnavailable
from lambdas.adapters.runs_table import MonthMoved, RunsTable
from lambdas.flows import accepting
from lambdas.flows.recording import ended_attempts, record_verdict, recost

MONTH = "202611"
ESTIMATE_USD = 1.537


@pytest.fixture
def accept(world, event):
    """Return a function that accepts a run of an execution of its own."""
    world.put_inputs()
    payload = event("state_accept_run")

    def call(name, **changes):
        arn = payload["execution_arn"] + name
        return accept_run.handler({**payload, "request": {}, "execution_arn": arn, **changes}, world.context)

    return call


@pytest.fixture
def between(monkeypatch):
    """Return a function: what it is given happens once, after a month was read and before it is written."""

    def arrange(action):
        real, left = RunsTable.register, [action]

        def register(self, record, month, *replaced):
            if left:
                left.pop()()
            return real(self, record, month, *replaced)

        monkeypatch.setattr(RunsTable, "register", register)

    return arrange


@pytest.fixture
def allow(monkeypatch):
    """Return a function that sets the monthly budget."""

    def call(budget_usd):
        monkeypatch.setenv("MONTHLY_BUDGET_USD", str(budget_usd))
        settings.settings.cache_clear()

    return call


def committed(world, month=MONTH):
    return world.cloud.runs.month(month).committed_usd


def test_of_two_runs_accepted_at_once_that_the_budget_covers_one_by_one_only_one_is_registered(
    world, accept, between, allow
):
    allow(2.5)
    between(lambda: accept("second"))

    with pytest.raises(MonthlyBudgetExceeded, match=r"1\.54 USD spent or reserved; this run may cost 1\.54"):
        accept("first")

    (only,) = world.cloud.runs.newest(10)
    assert only.execution_arn.endswith("second")
    assert committed(world) == pytest.approx(ESTIMATE_USD, abs=0.01)


def test_two_runs_accepted_at_once_are_both_registered_when_the_budget_covers_both(world, accept, between):
    between(lambda: accept("second"))

    accept("first")

    assert len(world.cloud.runs.newest(10)) == 2
    assert committed(world) == pytest.approx(2 * ESTIMATE_USD, abs=0.01)


def test_the_index_may_lag_behind_and_the_budget_does_not(world, accept, allow, monkeypatch):
    allow(2.5)
    accept("first")
    monkeypatch.setattr(RunsTable, "since", lambda *_: [])

    with pytest.raises(MonthlyBudgetExceeded):
        accept("second")


def test_an_acceptance_that_always_finds_another_run_is_left_to_the_workflow_s_retry(world, accept, monkeypatch):
    asked = []

    def register(_self, record, month, *_replaced):
        asked.append(record.run_id)
        raise MonthMoved(month.month)

    monkeypatch.setattr(RunsTable, "register", register)
    monkeypatch.setattr(accepting, "RESERVING_SECONDS", 0.5)

    with pytest.raises(AwsUnavailable, match="expected to reserve a cost"):
        accept("first")

    assert len(asked) > 2


def test_a_run_that_ended_counts_with_what_it_cost(world):
    record = world.launch(world.register(estimate_usd=40.0))
    assert committed(world) == 40.0
    world.clock.now += 600

    ended = record_verdict(world.cloud, record, "failed", "NoProgress", "why")

    assert committed(world) == pytest.approx(ended.cost_usd, abs=1e-6)
    assert world.cloud.runs.month(MONTH).reserved_usd == {}


def test_an_ending_that_is_recorded_twice_counts_once(world, event):
    world.launch(world.register())
    for _ in range(3):
        record_run.handler(event("state_record_run"), world.context)

    assert committed(world) == pytest.approx(world.load().cost_usd, abs=1e-6)


def test_a_cost_that_is_corrected_later_is_corrected_in_the_month_once(world):
    launched = world.launch(world.register())
    verdict = record_verdict(world.cloud, launched, "failed", "CleanupIncomplete", "why")
    world.clock.now += 7200
    late = world.cloud.runs.note(verdict, ended_attempts(verdict, world.clock.now))

    first, second = recost(world.cloud, late), recost(world.cloud, late)

    assert first.cost_usd == pytest.approx(second.cost_usd) != pytest.approx(verdict.cost_usd)
    assert committed(world) == pytest.approx(first.cost_usd, abs=1e-6)


class Repeats:
    """DynamoDB whose transactions take effect and whose answers are lost, so that each is done again."""

    def __init__(self, real):
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    def transact_write_items(self, **given):
        self._real.transact_write_items(**given)
        return self._real.transact_write_items(**given)


def test_answers_that_are_lost_register_one_run_and_count_one_cost(world, accept, event, monkeypatch):
    real = clients.client
    monkeypatch.setattr(runs_table, "client", lambda service, *pace: Repeats(real(service, *pace)))

    accept("first")
    assert committed(world) == pytest.approx(ESTIMATE_USD, abs=0.01)
    (record,) = world.cloud.runs.newest(10)
    record_verdict(world.cloud, world.launch(record), "completed")

    assert committed(world) == pytest.approx(world.load().cost_usd, abs=1e-6)


class Crowded(Repeats):
    """DynamoDB that cancels the first transactions, as it does when two meet on one item."""

    left = 3

    def transact_write_items(self, **given):
        if self.left:
            self.left -= 1
            reasons = [{"Code": "None"}] * (len(given["TransactItems"]) - 1) + [{"Code": "TransactionConflict"}]
            answer = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": reasons}
            raise ClientError(answer, "TransactWriteItems")
        return self._real.transact_write_items(**given)


def test_transactions_that_meet_are_repeated(world, accept, monkeypatch):
    crowded = Crowded(clients.client("dynamodb"))
    monkeypatch.setattr(runs_table, "client", lambda *_: crowded)
    monkeypatch.setattr(runs_table, "PAUSES_SECONDS", (0.0,) * 3)

    accept("first")
    crowded.left = 3
    record_verdict(world.cloud, world.load(), "completed")

    assert world.load().status == "completed"
    assert committed(world) == pytest.approx(world.load().cost_usd, abs=1e-6)


def test_transactions_that_meet_for_ever_are_an_error(world, monkeypatch):
    record, crowded = world.register(), Crowded(clients.client("dynamodb"))
    crowded.left = 100
    monkeypatch.setattr(runs_table, "client", lambda *_: crowded)
    monkeypatch.setattr(runs_table, "PAUSES_SECONDS", (0.0,) * 3)

    with pytest.raises(ClientError, match="TransactionCanceledException"):
        record_verdict(world.cloud, record, "completed")
    assert crowded.left == 96


def test_a_run_belongs_to_the_month_it_began_in_whenever_it_ends(world, accept, allow):
    allow(2.5)
    accept("first", started_at="2026-11-30T23:59:59.900Z")
    accept("second", started_at="2026-12-01T00:00:00.000Z")
    assert (committed(world), committed(world, "202612")) == pytest.approx((ESTIMATE_USD, ESTIMATE_USD), abs=0.01)
    world.clock.now += 30 * 86400

    november = next(r for r in world.cloud.runs.newest(9) if r.run_id.startswith(MONTH))
    ended = record_verdict(world.cloud, november, "failed", "NoProgress", "why")

    assert committed(world) == pytest.approx(ended.cost_usd, abs=1e-6)
    assert committed(world, "202612") == pytest.approx(ESTIMATE_USD, abs=0.01)


def test_a_month_of_many_ended_runs_stays_small(world):
    first = world.register()
    record_verdict(world.cloud, first, "completed")
    for number in range(200):
        record = replace(first, run_id=f"{first.run_id}-{number}", execution_arn=f"arn:{number}")
        assert world.admit(record)
        world.cloud.runs.finish(record, {"ended_at": 1, "status": "completed", "cost_usd": 0.01})

    month = world.cloud.runs.month(MONTH)

    assert month.reserved_usd == {}
    assert month.committed_usd == pytest.approx(200 * 0.01 + world.load().cost_usd, abs=1e-6)
    assert len(str(month.to_item())) < 200


def test_a_month_whose_runs_are_older_than_its_item_is_made_from_their_records(world, accept):
    """A stack that is updated in the middle of a month has records and no month."""
    living = world.register(estimate_usd=30.0)
    clients.client("dynamodb").delete_item(TableName="runs", Key={"id": {"S": f"month#{MONTH}"}})
    assert committed(world) == 30.0

    ended = record_verdict(world.cloud, living, "completed")
    assert committed(world) == pytest.approx(ended.cost_usd, abs=1e-6)

    accept("first")
    assert committed(world) == pytest.approx(ended.cost_usd + ESTIMATE_USD, abs=0.01)


def test_months_are_not_listed_among_the_runs(world):
    world.register()

    assert [record.run_id for record in world.cloud.runs.newest(10)] == [world.load().run_id]
