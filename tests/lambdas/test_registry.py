"""control_registry.json: written on condition, and never back behind what it has shown. Runs on moto."""

import json

import pytest

from contracts.layout import REGISTRY, run_prefix
from lambdas.adapters.clients import client
from lambdas.adapters.objects import Objects
from lambdas.adapters.runs_table import RunsTable
from lambdas.flows import registry
from lambdas.flows.recording import publish, record_verdict
from tests.lambdas.conftest import BUCKET, EXECUTION_ARN, RUN_ID

OTHER_ID = "20261123-180000-2"


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    monkeypatch.setattr(registry, "PAUSES_SECONDS", (0, 0, 0, 0))


@pytest.fixture
def other(world):
    """Give a second run beside the one of `world.register`."""
    first = world.register()
    changes = {"run_id": OTHER_ID, "execution_arn": EXECUTION_ARN + "-2", "prefix": run_prefix(OTHER_ID)}
    second = first.with_changes(changes)
    assert world.admit(second)
    return second


def shown(world):
    return {entry["run_id"]: entry["status"] for entry in world.document(REGISTRY)["runs"]}


def before(monkeypatch, kind, method, happens):
    """Let something happen once, just before the first call of an adapter's method."""
    real, happened = getattr(kind, method), []

    def late(self, *given, **named):
        if not happened:
            happened.append(True)
            happens()
        return real(self, *given, **named)

    monkeypatch.setattr(kind, method, late)


@pytest.mark.parametrize(("kind", "method"), [(Objects, "replace"), (RunsTable, "newest"), (Objects, "current")])
def test_a_run_that_ends_while_the_registry_is_written_is_shown_as_ended(world, other, monkeypatch, kind, method):
    before(monkeypatch, kind, method, lambda: record_verdict(world.cloud, other, "completed"))

    record_verdict(world.cloud, world.load(), "failed", "NoProgress")

    assert shown(world) == {RUN_ID: "failed", OTHER_ID: "completed"}


def test_an_index_that_lags_behind_takes_nothing_back(world, other, monkeypatch):
    old = world.cloud.runs.newest(10)
    record_verdict(world.cloud, other, "completed")

    for stale in (old, old[:1], []):
        monkeypatch.setattr(RunsTable, "newest", lambda _self, _limit, stale=stale: list(stale))
        publish(world.cloud, world.load())
        assert shown(world)[OTHER_ID] == "completed"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"runs": 7}', '{"runs": [null, {}, {"run_id": "../x", "status": "s", "end_time": null}]}',
     '{"runs": [{"run_id": "20261123-170000", "status": "completed", "end_time": NaN}]}', "[" * 100_000, "\x00"],
)  # fmt: skip
def test_a_registry_that_nobody_can_read_is_made_anew_from_the_table(world, other, content):
    world.put(REGISTRY, content)

    record_verdict(world.cloud, other, "completed")

    assert shown(world) == {RUN_ID: "accepted", OTHER_ID: "completed"}
    assert json.loads(client("s3").get_object(Bucket=BUCKET, Key=REGISTRY)["Body"].read())


def test_a_writer_who_always_comes_second_leaves_the_verdict_and_says_so(world, other, monkeypatch, capsys):
    tries = []
    monkeypatch.setattr(Objects, "replace", lambda *given, **_named: tries.append(given))

    record_verdict(world.cloud, other, "completed")

    assert world.cloud.runs.load(OTHER_ID).status == "completed"
    assert len(tries) == 5
    assert '"RegistryRacesLost":[1.0]' in capsys.readouterr().out.replace(" ", "")
