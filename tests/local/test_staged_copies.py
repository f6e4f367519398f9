"""The embedded S3 keeps the tags of copies as S3 does: staged results are ended by their tag, those in place stay."""

import uuid

import pytest

from lambdas.adapters.objects import Objects, Stamp
from tests.local.bench import Bench

pytestmark = pytest.mark.emulator
STAGED = [{"Key": "Staged", "Value": "true"}]


@pytest.fixture
def bucket(bench: Bench) -> str:
    name = f"copies-{uuid.uuid4().hex[:12]}"
    bench.client("s3").create_bucket(Bucket=name)
    return name


def test_a_copy_has_the_tags_it_is_given_and_no_others(
    bench: Bench, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = bench.client("s3")
    monkeypatch.setattr("lambdas.adapters.objects.client", lambda *_: s3)
    objects = Objects(bucket)
    objects.put("result", b"content")
    found = objects.look("result")
    assert found is not None

    assert objects.copy("result", "staged", found, "Staged=true")
    assert objects.copy("staged", "placed", Stamp(found.size, found.sha256, ""))
    assert objects.replace("claim", b"{}", "", tags="Staged=true")

    tags = {key: s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] for key in ("staged", "placed", "claim")}
    assert tags == {"staged": STAGED, "placed": [], "claim": STAGED}
    placed = objects.look("placed")
    assert placed is not None
    assert (placed.size, placed.sha256) == (found.size, found.sha256)
    assert not objects.copy("result", "late", Stamp(found.size, found.sha256, '"another"'))
    assert objects.look("late") is None
