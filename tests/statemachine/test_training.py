"""Every path through the training state machine, on moto's interpreter with the real handlers. Runs under pytest."""

from typing import Any

import boto3
import pytest

from contracts import layout
from lambdas.adapters.compute import Compute, LaunchFailed
from tests.statemachine.stage import BUCKET, Stage, folder

REQUEST = {"dataset": "small", "prediction_length": 3, "n_windows": 1}
HAPPY = [
    "AcceptRun", "LaunchInstance", "AwaitTraining", "CollectOutcome", "DecideWhatFollows", "Cleanup",
    "IsEverythingGone", "RecordRun", "DidRunSucceed", "RunSucceeded",
]  # fmt: skip


def test_success_passes_every_state_once(stage: Stage) -> None:
    arn = stage.start({}, "success")
    record = stage.boot(arn)
    stage.report(record, 2, progress={"step": 1, "total": 2, "unit": "units"})
    stage.complete(record)
    ended = stage.ended(arn)

    assert ended["status"] == "SUCCEEDED"
    assert stage.entered(arn) == HAPPY
    assert stage.left_behind() == []
    final = stage.record(arn)
    assert final is not None
    assert (final.status, final.reason_code) == ("completed", "")
    assert final.metrics["AutoETS"]["mase"] == 0.5
    assert (final.cost["transitions"], final.cost["transitions_from"]) == (len(HAPPY), "history")
    assert final.cost["reports"] == 10
    stage.sweep(arn, "SUCCEEDED")
    assert stage.record(arn) == final


def test_training_that_fails_ends_with_its_own_reason(stage: Stage) -> None:
    arn = stage.start(REQUEST, "failure")
    record = stage.boot(arn)
    stage.report(
        record, 5, "failed", error={"code": "DatasetInvalid", "message": "data.csv, column y, row 3: found inf"}
    )
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "DatasetInvalid")
    assert "data.csv, column y, row 3" in ended["cause"]
    assert "Next:" in ended["cause"]
    assert stage.left_behind() == []


def test_success_without_artifacts_is_a_failure(stage: Stage) -> None:
    arn = stage.start(REQUEST, "no-artifacts")
    record = stage.boot(arn)
    stage.report(record, 5, "completed", phase="done")
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "ArtifactsInvalid")
    assert stage.left_behind() == []


def test_an_artifact_that_differs_from_its_checksum_is_a_failure(stage: Stage) -> None:
    arn = stage.start(REQUEST, "bad-artifact")
    record = stage.boot(arn)
    boto3.client("s3").put_object(Bucket=BUCKET, Key=folder(record) + layout.SYSTEM_STATE, Body=b"{")
    complete = stage.report
    stage.report = lambda *_args, **_more: None  # type: ignore[method-assign]
    stage.complete(record)
    boto3.client("s3").put_object(
        Bucket=BUCKET, Key=folder(record) + "forecasts/AutoETS.parquet", Body=b"PAR2", ChecksumAlgorithm="SHA256"
    )
    complete(record, 9, "completed", phase="done")
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "ArtifactsInvalid")
    assert "forecasts/AutoETS.parquet" in ended["cause"]


def test_an_instance_that_never_reports_times_out_in_boot_and_is_tried_again(stage: Stage) -> None:
    arn = stage.start({**REQUEST, "boot_timeout_seconds": 5, "max_attempts": 2}, "boot-timeout")
    first = stage.waiting(arn, "boot")
    second = stage.waiting(arn, "boot", attempt=2)
    ended = stage.ended(arn)

    assert first.instance_id != second.instance_id
    assert (ended["status"], ended["error"]) == ("FAILED", "BootTimedOut")
    assert stage.entered(arn).count("LaunchInstance") == 2
    assert stage.left_behind() == []


def test_an_instance_that_falls_silent_is_lost(stage: Stage) -> None:
    arn = stage.start({**REQUEST, "heartbeat_timeout_seconds": 6, "max_attempts": 1}, "silent")
    record = stage.boot(arn)
    stage.report(record, 2, progress={"step": 1, "total": 9, "unit": "units"})
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "HeartbeatLost")
    assert "training 1/9 units" in ended["cause"]
    assert stage.left_behind() == []


def test_a_timeout_after_the_work_was_done_is_a_success(stage: Stage) -> None:
    """The event about the last report is lost; the report itself is not."""
    arn = stage.start({**REQUEST, "heartbeat_timeout_seconds": 6}, "lost-event")
    record = stage.boot(arn)
    deliver = stage.report
    stage.report = lambda *_args, **_more: None  # type: ignore[method-assign]
    stage.complete(record)
    stage.report = deliver  # type: ignore[method-assign]
    write_without_event(stage, record)
    ended = stage.ended(arn)

    assert ended["status"] == "SUCCEEDED"


def write_without_event(stage: Stage, record: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lambdas.observe_state.handler", lambda _event, _context: None)
        stage.report(record, 9, "completed", phase="done")


def test_a_run_past_its_deadline_times_out(stage: Stage) -> None:
    arn = stage.start({**REQUEST, "max_runtime_minutes": 0.5, "heartbeat_timeout_seconds": 6}, "run-timeout")
    record = stage.boot(arn)
    # Only the clock of the record moves: waiting half a minute proves no more.
    stage.runs.note(record, {"deadline_at": record.created_at - 1})
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "RunTimedOut")
    assert stage.left_behind() == []


def test_an_instance_without_progress_is_stalled_though_it_beats(stage: Stage) -> None:
    arn = stage.start({**REQUEST, "no_progress_timeout_seconds": 6}, "stalled")
    record = stage.boot(arn)
    stage.report(record, 2, progress={"step": 3, "total": 9, "unit": "units"})
    current = stage.record(arn)
    assert current is not None
    stage.runs.note(current, {"progress_at": current.progress_at - 7, "booted_at": current.booted_at - 7})
    stage.report(record, 3, progress={"step": 3, "total": 9, "unit": "units"})
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "NoProgress")
    assert "training 3/9 units" in ended["cause"]


def test_a_spot_interruption_is_resumed_on_a_new_instance(stage: Stage) -> None:
    arn = stage.start({**REQUEST, "market": "spot_then_on_demand"}, "spot")
    first = stage.boot(arn)
    stage.lose(first, spot=True)
    second = stage.boot(arn, attempt=2)
    stage.report(first, 99, "failed", error={"code": "TrainingFailed", "message": "late"})
    stage.complete(second)
    ended = stage.ended(arn)

    assert ended["status"] == "SUCCEEDED"
    final = stage.record(arn)
    assert final is not None
    assert [a.market for a in final.attempts] == ["spot", "on_demand"]
    assert all(a.ended_at for a in final.attempts)
    assert stage.left_behind() == []


def test_interruptions_without_end_are_a_bounded_failure(stage: Stage) -> None:
    arn = stage.start({**REQUEST, "market": "spot", "max_attempts": 2}, "spot-twice")
    for attempt in (1, 2):
        stage.lose(stage.boot(arn, attempt), spot=True)
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "SpotInterrupted")
    assert stage.left_behind() == []


def test_an_instance_that_vanishes_is_named_lost(stage: Stage) -> None:
    arn = stage.start({**REQUEST, "max_attempts": 1}, "vanished")
    stage.lose(stage.boot(arn))
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "InstanceLost")


def test_capacity_exhausted_names_each_rung(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: Compute, *_rung: Any) -> None:
        raise LaunchFailed("InsufficientInstanceCapacity", "none here")

    monkeypatch.setattr(Compute, "launch", refuse)
    arn = stage.start({**REQUEST, "instance_types": ["g4dn.2xlarge", "g4dn.4xlarge"]}, "capacity")
    ended = stage.ended(arn)

    assert (ended["status"], ended["error"]) == ("FAILED", "CapacityUnavailable")
    assert ended["cause"].count("InsufficientInstanceCapacity") == 4
    assert "AwaitTraining" not in stage.entered(arn)
    assert stage.left_behind() == []
