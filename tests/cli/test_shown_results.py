"""What `cli show` says of a run's results, whatever is on record and whatever became of its files. Runs on moto."""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from cli import show
from cli.stack import Stack
from contracts.layout import CLEANUP_STATUS, MODEL_METADATA, run_prefix
from lambdas.core.acceptance import checked_request
from lambdas.core.records import RunRecord

RUN_ID = "20261123-180000"
DAY_SECONDS = 86_400


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield Stack(state_machine_arn="arn", bucket="bucket", runs_table="runs")


def _record(metrics: dict[str, Any] | None = None, age_days: int = 0, status: str = "completed") -> RunRecord:
    ended_at = int(time.time()) - age_days * DAY_SECONDS
    return RunRecord(
        run_id=RUN_ID, execution_arn="arn", prefix=run_prefix(RUN_ID), request=checked_request({"dataset": "stocks"}),
        created_at=ended_at - 600, deadline_at=ended_at, status=status, ended_at=ended_at, metrics=metrics or {},
    )  # fmt: skip


def _put(content: str, storage_class: str = "STANDARD", name: str = MODEL_METADATA) -> None:
    boto3.client("s3").put_object(
        Bucket="bucket", Key=run_prefix(RUN_ID) + name, Body=content, StorageClass=storage_class
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(10**400, ">1e308"), (-(10**400), "<-1e308"), (None, "-"), ("text", "text"), ("x\x1b[2J", "x\\x1b[2J"),
     (True, "True"), ([1], "[1]"), (float("inf"), "inf"), (0.123456, "0.1235")],
)  # fmt: skip
def test_whatever_is_on_record_is_printed(stack: Stack, value: Any, shown: str) -> None:
    text = show.report(stack, _record({"AutoETS": {"mae": value}, "Odd": "no metrics"}))

    (line,) = [line for line in text.splitlines() if line.startswith("  AutoETS")]
    assert line.split() == ["AutoETS", shown]


def test_metrics_of_a_run_whose_files_are_archived_come_from_the_record(stack: Stack) -> None:
    for name in (MODEL_METADATA, CLEANUP_STATUS):
        _put("{}", "GLACIER", name)

    text = show.report(stack, _record({"AutoETS": {"mae": 1.5}}, age_days=40))

    assert "Metrics on record" in text
    assert "1.5" in text
    for name in (MODEL_METADATA, CLEANUP_STATUS):
        assert f"{name} is archived, as all files of a run are 30 days after they were written" in text


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_run_whose_files_are_gone_says_so(stack: Stack, status: str) -> None:
    text = show.report(stack, _record({"AutoETS": {"mae": 1.5}}, age_days=61, status=status))

    assert "1.5" in text
    assert "model_metadata.json is gone: the files of a run are deleted 60 days after they were written." in text


def test_a_run_that_failed_a_moment_ago_misses_nothing(stack: Stack) -> None:
    text = show.report(stack, _record(status="failed"))

    assert "gone" not in text
    assert "missing" not in text


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"models": 7}', json.dumps({"models": {"AutoETS": {"metrics": {"mae": "x"}, "seconds": "y"}}}),
     f'{{"models": 1{"0" * 5000}}}'],
    ids=["no JSON", "no object", "no models", "text", "5,000 digits"],
)  # fmt: skip
def test_metadata_that_nobody_can_read_hides_no_other_part(stack: Stack, content: str) -> None:
    _put(content)
    _put(content, name=CLEANUP_STATUS)

    text = show.report(stack, _record({"AutoETS": {"mae": 1.5}}))

    assert "1.5" in text
    assert "model_metadata.json" in text
    assert "cleanup_status.json" in text
    assert "forecasts/AutoETS.parquet" in text


def test_a_kind_that_could_not_be_looked_at_is_shown_with_the_reason(stack: Stack) -> None:
    kinds = {"volumes": {"state": "unknown", "left": [], "problem": "DescribeVolumes was refused"}}
    _put(json.dumps({"inventory": kinds, "checked_at": "2026-11-23T18:20:00Z"}), name=CLEANUP_STATUS)

    assert "unknown DescribeVolumes was refused" in show.report(stack, _record())
