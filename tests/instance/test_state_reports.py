"""system-state.json: order, validity, patience."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.documents import parse
from instance.identity import Identity
from instance.limits import Outcome
from instance.state_report import Sequence, StateReport
from tests.instance.samples import BUCKET, FOLDER, INSTANCE_ID, PREFIX, ROLE_ID, RUN_ID

IDENTITY = Identity(
    bucket=BUCKET,
    prefix=PREFIX,
    run_id=RUN_ID,
    attempt=2,
    role_id=ROLE_ID,
    instance_id=INSTANCE_ID,
    instance_type="g4dn.2xlarge",
    market="on_demand",
)


class Bucket:
    """Takes states, or fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.states: list[dict[str, Any]] = []

    def put(self, key: str, body: bytes) -> None:
        assert key == f"{FOLDER}system-state.json"
        if self.failures:
            self.failures -= 1
            raise ConnectionError("S3 is away")
        self.states.append(parse("system_state", body))


def reporting(bucket: Bucket, folder: Path) -> StateReport:
    return StateReport(IDENTITY, bucket.put, folder, "2026-11-23T18:00:00.000Z")


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen within 5 s"
        time.sleep(0.01)


def test_a_phase_is_reported_at_once_and_the_sequence_goes_on_from_the_bootstrap(tmp_path: Path) -> None:
    (tmp_path / "seq").write_text("4\n")
    bucket = Bucket()
    report = reporting(bucket, tmp_path)
    report.start(heartbeat_seconds=30)
    eventually(lambda: len(bucket.states) == 1)
    report.phase("training")
    eventually(lambda: len(bucket.states) == 2)
    assert report.end(Outcome("completed"))
    assert [state["seq"] for state in bucket.states] == [5, 6, 7]
    assert [state["phase"] for state in bucket.states] == ["preflight", "training", "done"]
    assert [state["status"] for state in bucket.states] == ["running", "running", "completed"]
    assert (tmp_path / "terminal").exists()


def test_heartbeats_carry_progress(tmp_path: Path) -> None:
    bucket = Bucket()
    report = reporting(bucket, tmp_path)
    report.start(heartbeat_seconds=0.05)
    report.phase("training")
    report.progress({"step": 3, "total": 9, "unit": "series forecasts"}, "AutoETS, window 1 of 3.")
    eventually(lambda: len(bucket.states) >= 5)
    report.end(Outcome("failed", "RunTimedOut", "The deadline passed."))
    assert bucket.states[-2]["progress"] == {"step": 3, "total": 9, "unit": "series forecasts"}
    assert bucket.states[-2]["message"] == "AutoETS, window 1 of 3."
    assert bucket.states[-1]["error"] == {"code": "RunTimedOut", "message": "The deadline passed."}
    assert bucket.states[-1]["phase"] == "training"
    sequence = [state["seq"] for state in bucket.states]
    assert sequence == sorted(set(sequence))


def test_a_failed_write_is_repeated_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instance.state_report.RETRY_SECONDS", 0.01)
    bucket = Bucket(failures=3)
    report = reporting(bucket, tmp_path)
    report.start(heartbeat_seconds=30)
    eventually(lambda: len(bucket.states) == 1)
    assert bucket.states[0]["seq"] == 4
    bucket.failures = 3
    assert report.end(Outcome("completed"))
    assert bucket.states[-1]["status"] == "completed"


def test_an_end_that_cannot_be_delivered_is_left_for_the_bootstrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("instance.state_report.RETRY_SECONDS", 0.001)
    monkeypatch.setattr("instance.state_report.LAST_PAUSE_SECONDS", 0.001)
    assert not reporting(Bucket(failures=100), tmp_path).end(Outcome("completed"))
    assert parse("system_state", (tmp_path / "terminal.json").read_bytes())["status"] == "completed"
    assert not (tmp_path / "terminal").exists()


def test_the_sequence_grows_even_when_the_disk_takes_nothing(tmp_path: Path) -> None:
    sequence = Sequence(tmp_path / "missing" / "seq")
    assert [sequence.next(), sequence.next()] == [1, 2]


def test_long_messages_are_cut_to_the_contract(tmp_path: Path) -> None:
    bucket = Bucket()
    report = reporting(bucket, tmp_path)
    report.progress({"step": 0, "total": None, "unit": "bytes"}, "x" * 2000)
    report.end(Outcome("failed", "TrainingFailed", "y" * 5000))
    assert len(bucket.states[0]["message"]) == 500
    assert len(bucket.states[0]["error"]["message"]) == 1000
