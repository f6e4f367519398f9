"""State RecordRun: the verdict once, the cost, the registry. Runs on moto."""

import json
from dataclasses import replace

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from contracts.prices import machine_cost, request_cost
from lambdas import record_run
from lambdas.adapters.objects import Objects
from lambdas.adapters.runs_table import RunsTable
from lambdas.flows.recording import ended_attempts

METADATA = {
    "schema_version": 1, "run_id": "20261123-180000", "created_at": "2026-11-23T18:20:00Z", "request": {},
    "data": {
        "dataset": "stocks", "sha256": "0", "series": 1, "rows": 30, "freq": "D", "season_length": 7,
        "prediction_length": 7, "n_windows": 3, "first_ds": "2026-01-01", "last_ds": "2026-01-30",
    },
    "environment": {"sha256": "0", "packages": {}, "python": "3.11", "device": "cpu", "dtype": "float32"},
    "models": {
        name: {"metrics": {"mae": mae, "mase": mase}, "seconds": 1, "backtest_path": "b", "forecast_path": "f"}
        for name, mae, mase in (("AutoETS", 2.0, 0.9), ("ChronosZeroShot", 1.0, 0.8))
    },
}  # fmt: skip


@pytest.fixture
def record(world, event):
    """Return a function that runs the handler; arguments change the verdict."""

    def call(**verdict):
        payload = event("state_record_run")
        payload["state"]["cleanup"]["verdict"].update(verdict)
        return record_run.handler(payload, world.context)

    return call


@pytest.fixture
def run(world):
    """Give a run whose instance ran for ten minutes and is gone."""
    started = world.launch(world.register(), seq=9, state="completed")
    world.clock.now += 600
    return world.cloud.runs.note(started, ended_attempts(started, world.clock.now))


def test_verdict_cost_and_metrics_are_recorded(world, record, run):
    world.put(f"{run.prefix}model_metadata.json", json.dumps(METADATA))

    answer = record()

    expected = (machine_cost("g4dn.2xlarge", "on_demand", 600) + request_cost(9, 15, 7, 35)).total_usd
    verdict = {"status": "completed", "reason_code": None, "cause": None}
    assert answer == {"recorded": True, "cost_usd": round(expected, 4), **verdict}
    stored = world.load()
    assert (stored.status, stored.ended_at) == ("completed", world.clock.now)
    assert stored.cost_usd == pytest.approx(expected, abs=1e-6)
    assert stored.metrics["ChronosZeroShot"] == {"mae": 1.0, "mase": 0.8}


def test_transitions_are_counted_in_the_history_with_the_two_that_follow(world, record, run):
    names = ("AcceptRun", "LaunchInstance", "AwaitTraining", "CollectOutcome", "DecideWhatFollows", "Cleanup",
             "IsEverythingGone", "RecordRun")  # fmt: skip
    world.states.history = [{"type": "TaskStateEntered", "stateEnteredEventDetails": {"name": name}} for name in names]

    record()

    stored = world.load()
    assert (stored.cost["transitions"], stored.cost["transitions_from"]) == (10, "history")
    assert stored.cost["transitions_usd"] == pytest.approx(10 * 0.000025)
    assert stored.cost["total_usd"] == pytest.approx(stored.cost_usd, abs=1e-6)
    assert stored.cost["reports"] == 9


def test_a_history_that_is_refused_leaves_a_cost_that_says_it_is_assumed(world, record, run):
    world.states.refuse = "AccessDeniedException"

    assert record()["recorded"]

    assert world.load().cost["transitions_from"] == "assumed"


def test_the_registry_shows_the_run_with_its_best_model(world, record, run):
    world.put(f"{run.prefix}model_metadata.json", json.dumps(METADATA))

    record()

    registry = world.document("control_registry.json")
    assert registry["system_stats"]["successful_runs"] == 1
    (entry,) = registry["runs"]
    assert entry["performance"]["mae"] == 1.0
    assert entry["end_time"] == "2026-11-23T18:11:00Z"
    assert entry["model_path"] == "s3://training-bucket/phase1/2026/11/23-180000/models/"


def test_the_registry_keeps_other_runs_below_the_new_one(world, record, run):
    earlier = replace(world.load(), run_id="20261122-180000", execution_arn="arn:earlier", status="failed", ended_at=5)
    assert world.admit(earlier)

    record()

    assert [entry["run_id"] for entry in world.document("control_registry.json")["runs"]] == [
        "20261123-180000", "20261122-180000",
    ]  # fmt: skip


def test_the_first_verdict_stands(world, record, run):
    record(status="failed", reason_code="NoProgress", cause="Stood still.")
    world.clock.now += 60
    record()

    stored = world.load()
    assert (stored.status, stored.reason_code, stored.cause) == (
        "failed", "NoProgress", "Stood still. Evidence: s3://training-bucket/phase1/2026/11/23-180000/logs/",
    )  # fmt: skip
    assert world.document("control_registry.json")["runs"][0]["status"] == "failed"


def test_a_run_without_metadata_is_recorded_without_metrics(world, record, run):
    record(status="failed", reason_code="BootTimedOut", cause="Waited.")

    assert world.load().metrics == {}
    assert world.document("control_registry.json")["runs"][0]["performance"] == {"mae": None, "sharpe_ratio": None}


@pytest.mark.parametrize("status", ["failed", "aborted"])
def test_a_run_that_is_not_completed_has_no_metrics_and_no_performance(world, record, run, status):
    world.put(f"{run.prefix}model_metadata.json", json.dumps(METADATA))

    record(status=status, reason_code="ArtifactsInvalid", cause="Replaced.")

    assert world.load().metrics == {}
    assert world.document("control_registry.json")["runs"][0]["performance"] == {"mae": None, "sharpe_ratio": None}


def test_only_the_metrics_of_the_requested_models_are_on_record(world, record, run):
    models = {**METADATA["models"], "Another": METADATA["models"]["AutoETS"]}
    world.put(f"{run.prefix}model_metadata.json", json.dumps({**METADATA, "models": models}))

    record()

    assert set(world.load().metrics) == {"AutoETS", "ChronosZeroShot"}


def _many_models():
    models = {f"model-{n:05d}": METADATA["models"]["AutoETS"] for n in range(8000)}
    return json.dumps({**METADATA, "models": {**METADATA["models"], **models}})


def _large_number():
    text = json.dumps(METADATA)
    return text.replace('"mae": 1.0', f'"mae": 1{"0" * 400}', 1)


@pytest.mark.parametrize(
    "content",
    [_many_models(), _large_number(), json.dumps(METADATA).replace("1.0", "1e999"), json.dumps(METADATA) + " " * 2**20,
     '{"models": {}, "models": {}}', "no JSON"],
    ids=["many models", "an integer of 400 digits", "infinite", "large", "a field twice", "no JSON"],
)  # fmt: skip
def test_metadata_out_of_its_bounds_costs_the_metrics_and_not_the_verdict(world, record, run, log_text, content):
    world.put(f"{run.prefix}model_metadata.json", content)

    assert record()["status"] == "completed"

    assert (world.load().status, world.load().metrics) == ("completed", {})
    assert world.document("control_registry.json")["runs"][0]["status"] == "completed"
    assert "without metrics: they cannot be read" in log_text()


def test_metrics_that_the_record_has_no_room_for_cost_it_no_verdict(world, record, run, log_text, monkeypatch):
    world.put(f"{run.prefix}model_metadata.json", json.dumps(METADATA))
    real = RunsTable.note

    def full(self, noted, changes):
        if "metrics" in changes:
            said = "Item size to update has exceeded the maximum allowed size"
            raise ClientError({"Error": {"Code": "ValidationException", "Message": said}}, "UpdateItem")
        return real(self, noted, changes)

    monkeypatch.setattr(RunsTable, "note", full)

    assert record()["recorded"]

    assert (world.load().status, world.load().metrics) == ("completed", {})
    assert "without metrics: they do not fit" in log_text()


def test_metrics_that_could_not_be_read_at_first_are_put_on_record_by_the_next_try(world, record, run, monkeypatch):
    world.put(f"{run.prefix}model_metadata.json", json.dumps(METADATA))
    with monkeypatch.context() as patch:
        patch.setattr(Objects, "document", _down)
        with pytest.raises(EndpointConnectionError):
            record()
    assert (world.load().status, world.load().metrics) == ("completed", {})

    assert record()["status"] == "completed"

    assert world.load().metrics["AutoETS"] == {"mae": 2.0, "mase": 0.9}


def _down(*_arguments):
    raise EndpointConnectionError(endpoint_url="https://s3.example")


def test_a_refused_request_has_no_run_to_record(world, record):
    refused = {"status": "failed", "reason_code": "RequestInvalid", "cause": "why"}

    assert record(**refused) == {"recorded": False, "cost_usd": 0.0, **refused}
    assert world.keys() == []


def test_outcome_and_cost_are_sent_as_metrics(record, run, capsys):
    record()

    (line,) = [line for line in capsys.readouterr().out.splitlines() if "CloudWatchMetrics" in line]
    sent = json.loads(line)
    assert sent["RunsCompleted"] == [1.0]
    assert sent["RunSeconds"] == [660.0]
    assert sent["RunCostUsd"][0] == pytest.approx(0.13, abs=0.01)
