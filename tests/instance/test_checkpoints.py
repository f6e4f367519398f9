"""Finished chunks on disk and on S3: taken up whole or not at all."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instance.checkpoints import Checkpoints, Finished, Unit
from instance.models.interface import Forecast
from instance.storage import Storage
from tests.instance.samples import BUCKET, FOLDER, storage

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


def checkpoints(client: Any, scratch: Path, attempt: int = 2, **depends_on: Any) -> Checkpoints:
    return Checkpoints(client, storage(attempt), scratch, {"data": "abc", **depends_on})


def saved(client: Any, scratch: Path, attempt: int = 1, seconds: float = 12.25) -> Checkpoints:
    kept = checkpoints(client, scratch, attempt)
    kept.save(UNIT, replace(finished(), seconds=seconds))
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
    damage_unit(s3, 1, damage)
    assert checkpoints(s3, tmp_path / "other").load(UNIT) is None


def damage_unit(client: Any, attempt: int, damage: Any) -> None:
    place = {"Bucket": BUCKET, "Key": storage(attempt).folder + UNIT.path}
    stored = client.get_object(**place)
    client.put_object(**place, Body=damage(stored["Body"].read()), Metadata=stored["Metadata"])


def test_an_object_that_is_no_checkpoint_does_not_count(s3: Any, tmp_path: Path) -> None:
    s3.put_object(Bucket=BUCKET, Key=storage(1).folder + UNIT.path, Body=b"{}")
    assert checkpoints(s3, tmp_path).load(UNIT) is None


def test_a_third_attempt_finds_what_only_the_first_made(s3: Any, tmp_path: Path) -> None:
    saved(s3, tmp_path / "one")
    assert_same(checkpoints(s3, tmp_path / "two", attempt=2).load(UNIT), finished())
    assert_same(checkpoints(s3, tmp_path / "three", attempt=3).load(UNIT), finished())


def test_the_newest_attempt_is_asked_first_and_damage_leads_to_the_one_before(s3: Any, tmp_path: Path) -> None:
    for attempt in (1, 2, 3):
        saved(s3, tmp_path / str(attempt), attempt, seconds=float(attempt))
    third = checkpoints(s3, tmp_path / "again", attempt=4)
    assert_same(third.load(UNIT), replace(finished(), seconds=3.0))
    damage_unit(s3, 3, lambda body: body[:-1])
    assert_same(third.load(UNIT), replace(finished(), seconds=2.0))
    assert_same(third.again(UNIT), replace(finished(), seconds=2.0))


def test_each_earlier_folder_is_asked_once_and_only_until_the_unit_is_found(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(s3, tmp_path / "two", attempt=2)
    asked: list[str] = []
    real = s3.get_object
    monkeypatch.setattr(s3, "get_object", lambda **what: (asked.append(what["Key"]), real(**what))[1])
    checkpoints(s3, tmp_path / "first", attempt=1).load(UNIT)
    assert asked == []
    checkpoints(s3, tmp_path / "fourth", attempt=4).load(UNIT)
    assert asked == [storage(attempt).folder + UNIT.path for attempt in (3, 2)]


def test_a_bucket_that_is_gone_costs_nothing_but_the_resume(
    s3: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoints(s3, Storage("no-such-bucket", FOLDER), tmp_path, {})
    kept.save(UNIT, finished())
    kept.close(30)
    assert_same(kept.again(UNIT), finished())
    assert "could not be uploaded" in caplog.text
