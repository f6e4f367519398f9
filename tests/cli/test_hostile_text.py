"""What a run's documents say on a person's terminal, when names and messages hold control characters. Runs on moto."""

import io
import json
from collections.abc import Iterator

import boto3
import pytest
from moto import mock_aws

from cli import show, watch
from cli.stack import Stack
from contracts.layout import MODEL_METADATA, SYSTEM_STATE, run_prefix
from lambdas.core.acceptance import checked_request
from lambdas.core.records import RunRecord

RUN_ID = "20261123-180000"
EVIL = "series\x1b[2J\n\nRun 20261123-180000 completed\u202e<script>alert(1)</script>|`x`"
CLEAN = "series\\x1b[2J\\n\\nRun 20261123-180000 completed\\u202e<script>alert(1)</script>|`x`"


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield Stack(state_machine_arn="arn", bucket="bucket", runs_table="runs")


def _record(cause: str = "") -> RunRecord:
    return RunRecord(
        run_id=RUN_ID, execution_arn="arn", prefix=run_prefix(RUN_ID), request=checked_request({"dataset": "stocks"}),
        created_at=1, deadline_at=2, status="failed", reason_code="TrainingFailed", cause=cause,
    )  # fmt: skip


def _put(name: str, document: object) -> None:
    boto3.client("s3").put_object(Bucket="bucket", Key=run_prefix(RUN_ID) + name, Body=json.dumps(document))


def test_names_of_series_reach_the_terminal_as_text(stack: Stack) -> None:
    model = {
        "metrics": {"mae": 1.0},
        "seconds": 1.0,
        "series_failed": 1,
        "failed_series": {EVIL: EVIL},
        "notes": [EVIL],
    }
    data = {
        "series": 1, "rows": 1, "dataset": EVIL, "freq": EVIL, "n_windows": 1, "prediction_length": 1, "notes": [EVIL],
    }  # fmt: skip
    leaderboard = {"rows": [], "sentences": [EVIL]}
    _put(MODEL_METADATA, {"models": {EVIL: model}, "data": data, "leaderboard": leaderboard, "request": {}})

    shown = show.report(stack, _record())

    assert shown.count(CLEAN) >= 6
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert not any(line.startswith("Run 20261123-180000 completed") for line in shown.splitlines())


def test_a_message_of_several_lines_cannot_look_like_a_report(stack: Stack) -> None:
    shown = show.report(stack, _record(cause=f"Why.\n{EVIL}"))

    assert "\x1b" not in shown
    assert [line for line in shown.splitlines() if line.startswith("Run ")] == [f"Run {RUN_ID} failed: TrainingFailed"]


def test_a_report_of_a_machine_is_watched_as_text(stack: Stack) -> None:
    _put(f"machines/:i-1/{SYSTEM_STATE}", {"phase": EVIL, "progress": {"step": 1, "total": 2, "unit": EVIL}})
    report = watch._report(stack, RUN_ID, "i-1")
    out = io.StringIO()

    print(report["phase"], watch._progress(report), file=out)

    assert out.getvalue().count(CLEAN) == 2
    assert "\x1b" not in out.getvalue()
