"""State CollectOutcome: completed only with every artifact in place; else a reason and what follows. Runs on moto."""

import hashlib
import json

import pytest

from lambdas import collect_outcome
from lambdas.adapters.clients import client

PATHS = [
    "model_metadata.json",
    *(f"{folder}/{model}.parquet" for model in ("ChronosZeroShot", "AutoETS") for folder in ("forecasts", "backtest")),
]


@pytest.fixture
def collect(world, event):
    """Return a function that runs the handler with one of the sample payloads."""

    def call(name="state_collect_outcome_after_success", **state):
        payload = event(name)
        payload["state"] |= state
        return collect_outcome.handler(payload, world.context)

    return call


@pytest.fixture
def training(world):
    """Give a run whose instance trains."""
    return world.launch(world.register(), stage="training", task_token="token", booted_at=world.clock.now, seq=3)


def finish(world, record, paths=PATHS, **changes):
    """Upload artifacts, training.json and the last report, as an instance that has completed does."""
    listed = []
    for path in paths:
        content = f"content of {path}".encode()
        world.put(world.cloud.folder(record) + path, content)
        listed.append({"path": path, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()})
    training = {
        "schema_version": 1, "run_id": record.run_id, "attempt": record.attempt, "instance_id": record.instance_id,
        "status": "completed", "phases": {}, "total_duration_seconds": 9, "artifacts": listed, **changes,
    }  # fmt: skip
    world.put(world.cloud.folder(record) + "training.json", json.dumps(training))
    world.report(record, 9, "completed")


def test_a_run_with_every_artifact_in_place_completed(world, collect, training):
    finish(world, training)

    assert collect() == {
        "status": "completed", "reason_code": None, "cause": None, "next": "cleanup", "next_attempt": None,
        "boot": None, "returns": 0,
    }  # fmt: skip


def test_an_artifact_that_came_in_parts_counts_by_the_hash_left_with_it(world, collect, training, monkeypatch):
    finish(world, training)
    # moto keeps no hash of hashes; this is how S3 answers for an object of two parts.
    whole = hashlib.sha256(f"content of {PATHS[1]}".encode()).hexdigest()
    s3 = client("s3")
    real = s3.head_object

    def in_parts(**asked):
        if not asked["Key"].endswith(PATHS[1]):
            return real(**asked)
        return {**real(**asked), "ChecksumSHA256": "aGFzaCBvZiBoYXNoZXM=-2", "Metadata": {"sha256": told}}

    monkeypatch.setattr(s3, "head_object", in_parts)
    told = "0" * 64
    assert collect()["reason_code"] == "ArtifactsInvalid"
    told = whole
    assert collect()["status"] == "completed"


def test_a_run_that_finished_while_the_wait_timed_out_completed(world, collect, training):
    finish(world, training)

    assert collect("state_collect_outcome_after_timeout")["status"] == "completed"


def _remove(world, record):
    client("s3").delete_object(Bucket="training-bucket", Key=world.cloud.folder(record) + PATHS[1])


def _alter(world, record):
    world.put(world.cloud.folder(record) + PATHS[1], f"Content of {PATHS[1]}")


def _cut(world, record):
    world.put(world.cloud.folder(record) + PATHS[1], "")


@pytest.mark.parametrize("harm", [_remove, _alter, _cut], ids=["missing", "other content", "cut"])
def test_an_artifact_that_is_not_as_claimed_makes_the_run_fail(world, collect, training, harm):
    finish(world, training)
    harm(world, training)

    result = collect()

    assert (result["status"], result["reason_code"], result["next"]) == ("failed", "ArtifactsInvalid", "cleanup")
    assert PATHS[1] in result["cause"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "failed"}, "found failed 1"),
        ({"attempt": 2}, "found completed 2"),
        ({"artifacts": "none"}, "found none"),
    ],
)
def test_a_training_json_of_another_attempt_or_kind_makes_the_run_fail(world, collect, training, changes, message):
    finish(world, training, **changes)

    result = collect()

    assert result["reason_code"] == "ArtifactsInvalid"
    assert message in result["cause"]


def test_a_run_that_lists_less_than_it_was_asked_for_fails(world, collect, training):
    finish(world, training, paths=PATHS[:-1])

    assert f"{PATHS[-1]}: expected in training.json, found no entry" in collect()["cause"]


def test_many_wrong_artifacts_are_counted_not_listed(world, collect, training):
    finish(world, training, paths=["models/extra.json"])
    world.put(world.cloud.folder(training) + "models/extra.json", "changed")

    assert "; 6 in all." in collect()["cause"]


def test_completed_without_training_json_is_no_success(world, collect, training):
    world.report(training, 9, "completed")

    assert collect()["reason_code"] == "ArtifactsInvalid"


def test_a_silent_instance_is_tried_again_until_the_attempts_are_used_up(world, collect, training):
    world.cloud.runs.note(training, {"heartbeat_at": world.clock.now - 200})

    first = collect("state_collect_outcome_after_timeout")
    world.cloud.runs.note(training, {"attempt": 2})
    last = collect("state_collect_outcome_after_timeout", attempt=2)

    assert (first["reason_code"], first["next"], first["next_attempt"]) == ("HeartbeatLost", "retry", 2)
    assert (last["reason_code"], last["next"], last["next_attempt"]) == ("HeartbeatLost", "cleanup", None)


def test_the_newest_report_explains_a_timeout_even_when_its_event_never_came(world, collect, training):
    world.report(training, 9, "failed", error={"code": "PreflightFailed", "message": "no GPU"})

    result = collect("state_collect_outcome_after_timeout")

    assert (result["reason_code"], result["next"]) == ("PreflightFailed", "cleanup")
    assert "no GPU" in result["cause"]


def test_a_request_that_was_refused_keeps_its_reason_without_any_record(collect):
    result = collect("state_collect_outcome_after_refusal")

    assert (result["status"], result["reason_code"], result["next"]) == ("failed", "RequestInvalid", "cleanup")
    assert "did you mean models?" in result["cause"]


def test_the_console_of_a_failed_attempt_is_kept(world, collect, training, monkeypatch):
    monkeypatch.setattr(
        type(world.cloud.compute), "console", lambda self, instance_id: f"console of {instance_id}".encode()
    )

    collect("state_collect_outcome_after_timeout")

    kept = world.cloud.objects.head(f"{training.prefix}logs/attempt-1/console.log", 1000)
    assert kept == f"console of {training.instance_id}".encode()


def test_a_console_that_cannot_be_read_does_not_change_the_outcome(world, collect, training):
    world.ec2.terminate_instances(InstanceIds=[training.instance_id])
    world.cloud.runs.note(training, {"instance_id": "i-0fedcba9876543210"})

    assert collect("state_collect_outcome_after_timeout")["reason_code"] == "HeartbeatLost"


def test_verified_results_the_last_report_and_the_logs_are_put_where_people_look(world, collect, training):
    finish(world, training)
    world.put(f"{world.cloud.folder(training)}logs/training.log", "epoch 3")

    collect()
    collect()

    kept = {*PATHS, "training.json", "system-state.json", "logs/attempt-1/training.log"}
    elsewhere = (world.cloud.folder(training), training.prefix + "staged/")
    assert {key for key in world.keys(training.prefix) if not key.startswith(elsewhere)} == {
        training.prefix + path for path in kept
    }
    for path in PATHS:
        assert world.cloud.objects.head(training.prefix + path, 100) == f"content of {path}".encode()


def test_a_result_that_changes_after_it_was_verified_is_no_success(world, collect, training, monkeypatch):
    finish(world, training)
    s3 = client("s3")
    real = s3.copy

    def late(source, *arguments, **named):
        world.put(world.cloud.folder(training) + PATHS[1], "forged")
        return real(source, *arguments, **named)

    monkeypatch.setattr(s3, "copy", late)

    answer = collect()

    assert answer["reason_code"] == "ArtifactsInvalid"
    assert PATHS[1] in answer["cause"]
    assert training.prefix + "forecasts/A.parquet" not in world.keys(training.prefix)


@pytest.mark.parametrize("path", ["manifest.json", "cleanup_status.json", "forecasts/../manifest.json", "logs/x"])
def test_what_is_no_result_is_never_put_beside_the_results(world, collect, training, path):
    finish(world, training, [*PATHS, path])

    answer = collect()

    assert answer["reason_code"] == "ArtifactsInvalid"
    assert path in answer["cause"]
    assert training.prefix + path not in world.keys(training.prefix)


def test_what_was_verified_is_not_copied_again_as_it_is_later(world, collect, training, monkeypatch):
    finish(world, training)
    s3 = client("s3")
    real = s3.copy

    def late(source, bucket, key, **named):
        real(source, bucket, key, **named)
        if key == training.prefix + "training.json":
            world.put(world.cloud.folder(training) + "training.json", "forged")

    monkeypatch.setattr(s3, "copy", late)

    assert collect()["status"] == "completed"
    assert world.document(training.prefix + "training.json")["status"] == "completed"
