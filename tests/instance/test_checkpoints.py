"""Finished chunks on disk and on S3: taken up whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instance.checkpoints import Checkpoints, Finished, Unit
from instance.models.interface import Forecast
from tests.instance.samples import BUCKET, PREFIX

UNIT = Unit("AutoETS", 3)


def finished() -> Finished:
    random = np.random.default_rng(0)
    forecasts = [
        Forecast(
            point=random.normal(size=(2, 5)),
            quantiles=random.normal(size=(3, 5, 2)).T,  # the memory of a model's output lies as it likes
            failures={1: "ValueError: too short, é"} if window else {},
            parameters=[{"method": "ETS(A,N,N)", "par": [0.1, None]}, {}],
        )
        for window in range(3)
    ]
    return Finished(forecasts, 12.25)


def checkpoints(client: Any, scratch: Path, **depends_on: Any) -> Checkpoints:
    return Checkpoints(client, BUCKET, PREFIX, scratch, {"data": "abc", **depends_on})


def saved(client: Any, scratch: Path) -> Checkpoints:
    kept = checkpoints(client, scratch)
    kept.save(UNIT, finished())
    kept.close(30)
    return kept


def assert_same(one: Finished | None, other: Finished) -> None:
    assert one is not None
    assert one.seconds == other.seconds
    for mine, theirs in zip(one.forecasts, other.forecasts, strict=True):
        np.testing.assert_array_equal(mine.point, theirs.point)
        np.testing.assert_array_equal(mine.quantiles, theirs.quantiles)
        assert (mine.failures, mine.parameters) == (theirs.failures, theirs.parameters)


def test_a_unit_comes_back_on_another_machine_and_from_this_disk(s3: Any, tmp_path: Path) -> None:
    assert_same(saved(s3, tmp_path / "one").again(UNIT), finished())
    elsewhere = checkpoints(s3, tmp_path / "other")
    assert_same(elsewhere.load(UNIT), finished())
    assert_same(elsewhere.again(UNIT), finished())


def test_a_unit_of_other_data_does_not_count(s3: Any, tmp_path: Path) -> None:
    saved(s3, tmp_path / "one")
    assert checkpoints(s3, tmp_path / "other", data="xyz").load(UNIT) is None
    assert checkpoints(s3, tmp_path / "other").load(Unit("AutoETS", 4)) is None


@pytest.mark.parametrize(
    "damage", [lambda body: body[:-1], lambda body: body[:100] + b"\0" + body[101:], lambda _: b""]
)
def test_a_damaged_unit_does_not_count(s3: Any, tmp_path: Path, damage: Any) -> None:
    saved(s3, tmp_path / "one")
    stored = s3.get_object(Bucket=BUCKET, Key=PREFIX + UNIT.path)
    s3.put_object(
        Bucket=BUCKET, Key=PREFIX + UNIT.path, Body=damage(stored["Body"].read()), Metadata=stored["Metadata"]
    )
    assert checkpoints(s3, tmp_path / "other").load(UNIT) is None


def test_an_object_that_is_no_checkpoint_does_not_count(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key=PREFIX + UNIT.path, Body=b"{}")
    assert checkpoints(s3, tmp_path).load(UNIT) is None


def test_a_bucket_that_is_gone_costs_nothing_but_the_resume(
    s3: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoints(s3, "no-such-bucket", PREFIX, tmp_path, {})
    kept.save(UNIT, finished())
    kept.close(30)
    assert_same(kept.again(UNIT), finished())
    assert "could not be uploaded" in caplog.text
