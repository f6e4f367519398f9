"""Whole runs on the embedded cloud, driven by the real aws CLI: how each ends and what it leaves. Runs with pytest."""

import hashlib
import json
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from contracts import layout
from contracts.prices import instance_usd_per_hour
from lambdas.core.records import RunRecord
from tests.e2e.conftest import NO_CAPACITY
from tests.e2e.runner import Runner, patiently

pytestmark = [pytest.mark.emulator, pytest.mark.slow]


def test_an_empty_request_succeeds_on_the_newest_data_set(runner: Runner) -> None:
    arn = runner.start({})
    watched = runner.cli("watch", arn)
    ended = runner.finish(arn)

    assert (ended.status, ended.error) == ("SUCCEEDED", "")
    assert ended.record is not None
    assert ended.record.request["dataset"] == "small"
    # Which phases are met depends on how fast the machine is; that it is read at all does not.
    assert re.search(r"AwaitTraining +(boot|preflight|data_sync|training|results_sync|done)\b", watched)
    assert f"Run {ended.record.run_id} completed" in watched
    runner.assert_nothing_left(ended.record)
    history = runner.aws("stepfunctions", "get-execution-history", "--execution-arn", ended.arn)["events"]
    entered = [event for event in history if event["type"].endswith("StateEntered")]
    assert len(entered) <= 20
    states = runner.aws("ec2", "describe-instances", "--filters", f"Name=tag:RunId,Values={ended.record.run_id}")
    names = {i["State"]["Name"] for r in states["Reservations"] for i in r["Instances"]}
    assert names == {"terminated"}


def test_a_run_that_succeeds_leaves_every_artifact_as_its_checksum_says(runner: Runner) -> None:
    ended = runner.run({"dataset": "small"})

    assert ended.record is not None
    training = runner.document("training", ended.record, layout.TRAINING)
    metadata = runner.document("model_metadata", ended.record, layout.MODEL_METADATA)
    assert training is not None
    assert metadata is not None
    for artifact in training["artifacts"]:
        body = (
            runner.client("s3")
            .get_object(Bucket=runner.bucket, Key=ended.record.prefix + artifact["path"])["Body"]
            .read()
        )
        assert hashlib.sha256(body).hexdigest() == artifact["sha256"]
    assert set(metadata["models"]) == {"ChronosZeroShot", "AutoETS"}
    assert metadata["models"]["AutoETS"]["metrics"]["mase"] < 1.5
    assert ended.record.metrics["AutoETS"]["mae"] == metadata["models"]["AutoETS"]["metrics"]["mae"]
    history = runner.client("stepfunctions").get_execution_history(executionArn=ended.arn, maxResults=1000)["events"]
    entered = [e["stateEnteredEventDetails"]["name"] for e in history if "stateEnteredEventDetails" in e]
    cost = ended.record.cost
    assert (cost["transitions"], cost["transitions_from"]) == (len(entered), "history")
    assert cost["total_usd"] == pytest.approx(ended.record.cost_usd, abs=1e-6)
    assert cost["total_usd"] > cost["instance_usd"] > 0
    assert cost["reports"] >= 3
    assert 0 < cost["function_seconds"] < 120
    registry = json.loads(runner.client("s3").get_object(Bucket=runner.bucket, Key=layout.REGISTRY)["Body"].read())
    assert ended.record.run_id in [run["run_id"] for run in registry["runs"] if run["status"] == "completed"]


def test_data_that_cannot_be_used_fails_the_run_and_names_the_column(runner: Runner) -> None:
    ended = runner.run({"dataset": "wrong-column"})

    assert (ended.status, ended.error) == ("FAILED", "DatasetInvalid")
    assert "data.parquet" in ended.cause
    assert "y" in ended.cause
    assert "Next:" in ended.cause
    assert ended.record is not None
    runner.assert_nothing_left(ended.record)
    assert any(path.startswith("logs/attempt-1/") for path in runner.paths(ended.record))
    training = runner.document("training", ended.record, layout.TRAINING)
    assert training is not None
    assert training["status"] == "failed"


def test_an_instance_killed_in_the_middle_is_replaced_and_finished_parts_are_kept(
    runner: Runner, long_run: dict[str, object]
) -> None:
    arn = runner.start({**long_run, "n_windows": 6})
    # Two chunks of two series and 7 windows are computed at once: now one of them is finished.
    record = runner.training(arn, step=21)
    kept = {p for p in runner.paths(record) if "/checkpoints/" in p and p.endswith(".safetensors")}
    runner.faults.kill(record.instance_id)
    ended = runner.finish(arn)

    assert (ended.status, ended.error) == ("SUCCEEDED", "")
    assert ended.record is not None
    assert [a.attempt for a in ended.record.attempts] == [1, 2]
    assert kept
    log = runner.client("s3").get_object(
        Bucket=runner.bucket, Key=f"{record.prefix}{layout.TRAINING}"
    )["Body"].read()  # fmt: skip
    assert json.loads(log)["attempt"] == 2
    runner.assert_nothing_left(ended.record)


def assert_log_tail_left(runner: Runner, record: RunRecord) -> None:
    """Assert that a machine which could upload nothing at its end has left its log, and that the ending names it."""
    logs = f"{record.prefix}logs/attempt-{record.attempt}/"
    body = runner.client("s3").get_object(Bucket=runner.bucket, Key=f"{logs}training.log")["Body"].read()
    assert b"INFO" in body
    told = runner.document("ending", record, f"logs/attempt-{record.attempt}/ending.json")
    assert told is not None
    assert f"{logs}training.log" in told["logs"]


def test_an_instance_killed_in_its_last_attempt_fails_the_run(runner: Runner, long_run: dict[str, object]) -> None:
    arn = runner.start({**long_run, "max_attempts": 1})
    runner.faults.kill(runner.training(arn).instance_id)
    ended = runner.finish(arn)

    assert (ended.status, ended.error) == ("FAILED", "InstanceLost")
    assert ended.record is not None
    runner.assert_nothing_left(ended.record)
    assert_log_tail_left(runner, ended.record)


def test_an_instance_that_falls_silent_is_lost(runner: Runner, long_run: dict[str, object]) -> None:
    arn = runner.start({**long_run, "max_attempts": 1})
    runner.faults.hang(runner.training(arn).instance_id)
    ended = runner.finish(arn)

    assert (ended.status, ended.error) == ("FAILED", "HeartbeatLost")
    assert "training" in ended.cause
    assert ended.record is not None
    runner.assert_nothing_left(ended.record)
    assert "logs/attempt-1/console.log" in runner.paths(ended.record)
    assert_log_tail_left(runner, ended.record)


def test_an_instance_that_lives_without_progress_is_stalled(runner: Runner, long_run: dict[str, object]) -> None:
    # Of many series, so that there is progress all the time until it is stalled.
    arn = runner.start({**long_run, "dataset": "many", "n_windows": 1, "no_progress_timeout_seconds": 45})
    runner.faults.stall(runner.training(arn).instance_id)
    ended = runner.finish(arn)

    assert (ended.status, ended.error) == ("FAILED", "NoProgress")
    assert ended.record is not None
    assert len(ended.record.attempts) == 1
    runner.assert_nothing_left(ended.record)


def test_an_execution_stopped_by_a_person_is_cleaned_up_without_it(runner: Runner, long_run: dict[str, object]) -> None:
    arn = runner.start(long_run)
    runner.training(arn)
    runner.aws("stepfunctions", "stop-execution", "--execution-arn", arn)
    ended = runner.finish(arn)

    assert ended.status == "ABORTED"
    assert ended.record is not None
    assert (ended.record.status, ended.record.reason_code) == ("aborted", "Aborted")
    receipt = runner.assert_nothing_left(ended.record)
    assert receipt["checked_by"] == "status_change"


def test_a_spot_interruption_checkpoints_and_goes_on_elsewhere(runner: Runner, long_run: dict[str, object]) -> None:
    arn = runner.start({**long_run, "n_windows": 6, "market": "spot_then_on_demand"})
    record = runner.training(arn, step=21)
    runner.faults.interrupt(record.instance_id, notice_seconds=20)
    ended = runner.finish(arn)

    assert (ended.status, ended.error) == ("SUCCEEDED", "")
    assert ended.record is not None
    assert [a.market for a in ended.record.attempts] == ["spot", "on_demand"]
    quoted = instance_usd_per_hour("g4dn.2xlarge", "spot")
    assert [a.spot_usd_per_hour for a in ended.record.attempts] == [quoted, None]
    runner.assert_nothing_left(ended.record)


def test_a_run_that_takes_too_long_says_so(runner: Runner, long_run: dict[str, object]) -> None:
    # The quick model's part of the first chunk is finished long before the slow one's.
    models = ["SeasonalNaive", "AutoETS"]
    ended = runner.run({**long_run, "models": models, "n_windows": 30, "max_runtime_minutes": 0.75})

    assert (ended.status, ended.error) == ("FAILED", "RunTimedOut")
    assert ended.record is not None
    runner.assert_nothing_left(ended.record)
    assert any("/checkpoints/" in path for path in runner.paths(ended.record))


def test_no_capacity_on_any_rung_is_a_verdict_that_names_each(runner: Runner) -> None:
    ended = runner.run({"dataset": "small", "instance_types": [NO_CAPACITY]})

    assert (ended.status, ended.error) == ("FAILED", "CapacityUnavailable")
    assert ended.cause.count("InsufficientInstanceCapacity") == 2
    assert ended.record is not None
    assert ended.record.attempts == ()
    runner.assert_nothing_left(ended.record)


def test_the_ladder_goes_on_to_the_next_instance_type(runner: Runner) -> None:
    ended = runner.run({"dataset": "small", "models": ["AutoETS"], "instance_types": [NO_CAPACITY, "g4dn.2xlarge"]})

    assert ended.status == "SUCCEEDED"
    assert ended.record is not None
    assert ended.record.attempts[0].instance_type == "g4dn.2xlarge"
    assert len(ended.record.rungs) == 3


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({"modles": ["AutoETS"]}, "modles"),
        ({"n_windows": "three"}, "n_windows"),
        ({"dataset": "nowhere"}, "datasets/nowhere/"),
        ({"max_cost_usd": 0.01}, "max_cost_usd"),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_launched(runner: Runner, request_: dict, field: str) -> None:
    ended = runner.run(request_)

    assert ended.status == "FAILED"
    assert ended.error in ("RequestInvalid", "DatasetNotFound", "CostCapTooLow")
    assert field in ended.cause
    assert ended.record is None


def test_a_corrupt_or_oversized_report_changes_nothing(runner: Runner, long_run: dict[str, object]) -> None:
    arn = runner.start({**long_run, "n_windows": 5})
    record = runner.training(arn)
    key = runner.folder(record) + layout.SYSTEM_STATE
    for junk in (b'{"status": "completed"', b"x" * 100_000, b'{"status": "completed", "seq": 999999}'):
        runner.client("s3").put_object(Bucket=runner.bucket, Key=key, Body=junk)
        time.sleep(0.3)
    ended = runner.finish(arn)

    assert (ended.status, ended.error) == ("SUCCEEDED", "")
    assert ended.record is not None
    assert len(ended.record.attempts) == 1


def test_two_starts_in_one_second_are_two_runs(runner: Runner) -> None:
    arns = [runner.start({"dataset": "small", "models": ["AutoETS"]}) for _ in range(2)]
    ended = [runner.finish(arn) for arn in arns]

    assert [e.status for e in ended] == ["SUCCEEDED", "SUCCEEDED"]
    assert len({e.record.run_id for e in ended if e.record}) == 2


def test_an_uploaded_request_starts_one_run_however_often_the_event_comes(runner: Runner) -> None:
    s3 = runner.client("s3")
    key = "requests/e2e/once.json"
    s3.put_object(Bucket=runner.bucket, Key=key, Body=json.dumps({"dataset": "small", "models": ["AutoETS"]}))
    states = runner.client("stepfunctions")

    def uploads() -> list[str]:
        found = states.list_executions(stateMachineArn=runner.environment["STATE_MACHINE_ARN"], maxResults=1000)
        return [e["executionArn"] for e in found["executions"] if e["name"].startswith("upload-")]

    (arn,) = patiently(uploads, "the upload to start a run")
    function = next(
        f["FunctionName"]
        for f in runner.client("lambda").list_functions()["Functions"]
        if "StartFromUpload" in f["FunctionName"]
    )
    name = arn.rsplit(":", 1)[-1]
    described = states.describe_execution(executionArn=arn)
    assert json.loads(described["input"]) == {"dataset": "small", "models": ["AutoETS"]}
    # What S3 sent is not at hand, so the events of two further uploads of the same are sent by ourselves, twice each:
    # one of now, which is taken for this one repeated, and one of an hour later.
    head = s3.head_object(Bucket=runner.bucket, Key=key)
    written, later = head["LastModified"], head["LastModified"] + timedelta(hours=1)
    for sequencer, moment in (("0A", written), ("0B", later)) * 2:
        uploaded = {"key": key, "etag": head["ETag"].strip('"'), "sequencer": sequencer}
        event = {"time": moment.isoformat(), "detail": {"bucket": {"name": runner.bucket}, "object": uploaded}}
        answer = runner.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
        assert "FunctionError" not in answer
    assert len(uploads()) == 2
    note = s3.get_object(Bucket=runner.bucket, Key=f"{key}.started.txt")["Body"].read().decode()
    assert note.count(arn) == 1
    for started in uploads():
        assert runner.finish(started).status == "SUCCEEDED"
    assert name in [a.rsplit(":", 1)[-1] for a in uploads()]


def test_an_uploaded_file_that_is_no_request_gets_a_note_beside_it(runner: Runner) -> None:
    s3 = runner.client("s3")
    s3.put_object(Bucket=runner.bucket, Key="requests/broken.json", Body=b"[1, 2")

    def note() -> str | None:
        found = s3.list_objects_v2(Bucket=runner.bucket, Prefix="requests/broken.json.rejected.txt")
        if not found.get("Contents"):
            return None
        return s3.get_object(Bucket=runner.bucket, Key="requests/broken.json.rejected.txt")["Body"].read().decode()

    assert "expected a JSON object" in patiently(note, "the note")


def test_an_upload_that_lambda_gave_up_gets_a_note_beside_it(runner: Runner, event: Callable[[str], Any]) -> None:
    failed = event("lambda_upload_lost")
    failed["requestPayload"]["detail"]["object"]["key"] = "requests/e2e/lost.json"
    functions = runner.client("lambda")
    listed = functions.list_functions()["Functions"]
    start, note = (
        next(f["FunctionName"] for f in listed if part in f["FunctionName"])
        for part in ("StartFromUpload", "NoteLostUpload")
    )
    deployed = functions.get_function_event_invoke_config(FunctionName=start, Qualifier="$LATEST")
    assert note in deployed["DestinationConfig"]["OnFailure"]["Destination"]

    answer = functions.invoke(FunctionName=note, Payload=json.dumps(failed))

    assert "FunctionError" not in answer
    written = runner.client("s3").get_object(Bucket=runner.bucket, Key="requests/e2e/lost.json.rejected.txt")
    assert "Rate exceeded" in written["Body"].read().decode()
