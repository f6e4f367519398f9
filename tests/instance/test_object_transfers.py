"""Downloads and uploads against a real S3 server: intact whatever happens on the way, and quick to stop."""

import base64
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contracts.reasons import DataSyncFailed, ResultsSyncFailed
from instance import downloads, object_reads, objects, uploads
from instance.object_reads import DirectReader
from instance.objects import download_all, upload_all
from instance.reporting import Interrupted
from local.cloud import LocalCloud

pytestmark = pytest.mark.emulator

BUCKET = "transfers"
PART = 64 << 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    cloud = LocalCloud(tmp_path_factory.mktemp("cloud"))
    cloud.start()
    yield cloud.credentials()
    cloud.stop()


@pytest.fixture
def s3(server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a bucket that is empty, with parts so small that a few hundred KiB are many."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(objects, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(downloads, "PART_BYTES", PART)
    monkeypatch.setattr(uploads, "PART_BYTES", PART)
    client = objects.s3_client()
    client.create_bucket(Bucket=BUCKET)
    yield client
    for item in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=item["Key"])


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that were asked for directly."""
    asked: list[str] = []
    real = DirectReader._response

    def counted(self: DirectReader, wanted: Any) -> Any:
        asked.append(wanted.key)
        return real(self, wanted)

    monkeypatch.setattr(DirectReader, "_response", counted)
    return asked


def staged(s3: Any, contents: dict[str, bytes], folder: Path) -> list[tuple[dict[str, Any], Path]]:
    """Put objects, and return them as `download_all` takes them."""
    placed = []
    for key, body in contents.items():
        checksum = base64.b64encode(hashlib.sha256(body).digest()).decode()
        put = s3.put_object(Bucket=BUCKET, Key=key, Body=body, ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum)
        placed.append(({"key": key, "bytes": len(body), "etag": put["ETag"]}, folder / key))
    return placed


def many(count: int = 40, size: int = 1000) -> dict[str, bytes]:
    return {f"data/{i % 3}/ä b+{i}.csv": os.urandom(size + i) for i in range(count)}


def check_all(done: list[Any], contents: dict[str, bytes]) -> None:
    assert [one.key for one in done] == list(contents)
    for one, body in zip(done, contents.values(), strict=True):
        assert one.path.read_bytes() == body
        assert (one.bytes, one.sha256) == (len(body), hashlib.sha256(body).hexdigest())


def test_many_small_objects_come_directly_and_intact(s3: Any, direct: list[str], tmp_path: Path) -> None:
    contents = {**many(), "data/empty.csv": b""}
    seen: list[int] = []
    done = download_all(s3, BUCKET, staged(s3, contents, tmp_path), seen.append)
    check_all(done, contents)
    assert sorted(direct) == sorted(contents)
    assert sum(seen) == sum(map(len, contents.values()))
    assert {one.retries for one in done} == {0}


def test_a_large_object_comes_in_parts_and_intact(s3: Any, direct: list[str], tmp_path: Path) -> None:
    contents = {"data/large.parquet": os.urandom(20 * PART + 7)}
    done = download_all(s3, BUCKET, staged(s3, contents, tmp_path), lambda _: None)
    check_all(done, contents)
    assert (len(direct), done[0].retries) == (21, 0)


def test_a_few_parts_come_through_botocore(s3: Any, direct: list[str], tmp_path: Path) -> None:
    contents = {"data/a": os.urandom(3 * PART + 1), "data/b": b"b"}
    check_all(download_all(s3, BUCKET, staged(s3, contents, tmp_path), lambda _: None), contents)
    assert not direct


def cut_short(chunks: Iterator[Any]) -> Iterator[Any]:
    yield bytes(next(chunks))[:-1]


def garbled(chunks: Iterator[Any]) -> Iterator[Any]:
    for chunk in chunks:
        yield bytes(chunk)[:-1] + bytes([bytes(chunk)[-1] ^ 1])


@pytest.mark.parametrize("harm", [cut_short, garbled])
@pytest.mark.parametrize("contents", [many(), {"data/large": os.urandom(20 * PART)}], ids=["small", "large"])
def test_harm_to_a_direct_read_is_found_and_made_good(
    s3: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    harm: Callable[[Iterator[Any]], Iterator[Any]],
    contents: dict[str, bytes],
) -> None:
    real = DirectReader._chunks
    harmed = [True]

    def once(self: DirectReader, response: Any) -> Iterator[Any]:
        chunks = real(self, response)
        return harm(chunks) if harmed and harmed.pop() else chunks

    monkeypatch.setattr(DirectReader, "_chunks", once)
    seen: list[int] = []
    done = download_all(s3, BUCKET, staged(s3, contents, tmp_path), seen.append)
    check_all(done, contents)
    assert sum(one.retries for one in done) == 1
    assert sum(seen) == sum(map(len, contents.values()))


def test_where_direct_reads_do_not_work_botocore_does_it_all(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def refused(scheme: str, netloc: str) -> Any:
        tries.append(netloc)
        raise ConnectionRefusedError

    monkeypatch.setattr(object_reads, "_connect", refused)
    contents = many(100)
    check_all(download_all(s3, BUCKET, staged(s3, contents, tmp_path), lambda _: None), contents)
    assert downloads.DIRECT_FAILURES <= len(tries) < downloads.DIRECT_FAILURES + objects.THREADS


def test_a_connection_that_s3_closed_is_opened_again(s3: Any, tmp_path: Path) -> None:
    placed = staged(s3, {"data/a": b"first", "data/b": b"second"}, tmp_path)
    reader = DirectReader(s3, BUCKET)
    for reference, _ in placed:
        size = reference["bytes"]
        wanted = object_reads.Wanted(reference["key"], reference["etag"].strip('"'), size, 0, size)
        with reader.read(wanted) as answer:
            assert sum(len(chunk) for chunk in answer.chunks) == size
        assert reader.connection is not None
        # What is left of a connection whose other end hung up.
        reader.connection.sock.shutdown(2)
    reader.close()


@pytest.mark.parametrize("contents", [many(), {"data/large": os.urandom(20 * PART)}], ids=["small", "large"])
def test_an_object_that_changed_is_named_however_it_is_read(
    s3: Any, tmp_path: Path, contents: dict[str, bytes]
) -> None:
    placed = staged(s3, contents, tmp_path)
    changed = list(contents)[-1]
    s3.put_object(Bucket=BUCKET, Key=changed, Body=os.urandom(len(contents[changed])))
    with pytest.raises(DataSyncFailed, match="Somebody changed the object") as raised:
        download_all(s3, BUCKET, placed, lambda _: None)
    assert changed in raised.value.message


def test_a_missing_object_ends_the_downloads_and_is_named(s3: Any, tmp_path: Path) -> None:
    placed = staged(s3, many(), tmp_path)
    s3.delete_object(Bucket=BUCKET, Key=placed[7][0]["key"])
    with pytest.raises(DataSyncFailed, match="expected the object of the manifest, found none") as raised:
        download_all(s3, BUCKET, placed, lambda _: None)
    assert placed[7][0]["key"] in raised.value.message


def test_a_disk_without_room_is_named(s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, offset: int, length: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    placed = staged(s3, {"data/large": os.urandom(2 * PART)}, tmp_path)
    with pytest.raises(DataSyncFailed, match=r"data/large: expected room for 131072 bytes.*No space left"):
        download_all(s3, BUCKET, placed, lambda _: None)


def test_sigterm_ends_downloads_at_once(s3: Any, tmp_path: Path) -> None:
    def interrupt(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGTERM, interrupt)
    placed = staged(s3, many(60), tmp_path)
    held = threading.Event()
    signalled: list[int] = []

    def hold(count: int) -> None:
        if not signalled:
            signalled.append(count)
            os.kill(os.getpid(), signal.SIGTERM)
        held.wait(10)

    try:
        begun = time.monotonic()
        with pytest.raises(Interrupted):
            download_all(s3, BUCKET, placed, hold)
        assert time.monotonic() - begun < 3.0
    finally:
        signal.signal(signal.SIGTERM, before)
        held.set()
    wait_until(lambda: not [one for one in threading.enumerate() if one.name.startswith("ThreadPoolExecutor")])
    # The threads held one object each, and took no other.
    assert sum(path.stat().st_size > 0 for _, path in placed if path.exists()) <= objects.THREADS


def wait_until(look: Callable[[], bool]) -> None:
    gives_up_at = time.monotonic() + 5.0
    while not look():
        assert time.monotonic() < gives_up_at
        time.sleep(0.02)


def test_uploads_are_listed_in_order_and_stored_intact(s3: Any, tmp_path: Path) -> None:
    contents = {f"forecasts/{i}.parquet": os.urandom(100 + i) for i in range(30)}
    files = written(contents, tmp_path)
    counted: list[int] = []
    artifacts = upload_all(s3, BUCKET, "run/", files, counted.append)
    assert [artifact.path for artifact in artifacts] == list(contents)
    for artifact in artifacts:
        body = s3.get_object(Bucket=BUCKET, Key=f"run/{artifact.path}")["Body"].read()
        assert body == contents[artifact.path]
        assert (artifact.bytes, artifact.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    assert sum(counted) == 30


def test_a_very_large_file_goes_up_in_parts_with_its_own_sha256(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MULTIPART_FROM_BYTES", 4 * PART)
    contents = {"large.parquet": os.urandom(5 * PART + 9), "small.json": b"{}"}
    artifacts = upload_all(s3, BUCKET, "run/", written(contents, tmp_path), lambda _: None)
    assert [artifact.path for artifact in artifacts] == list(contents)
    head = s3.head_object(Bucket=BUCKET, Key="run/large.parquet", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"].endswith("-6")
    assert head["Metadata"]["sha256"] == artifacts[0].sha256
    assert artifacts[0].sha256 == hashlib.sha256(contents["large.parquet"]).hexdigest()
    body = s3.get_object(Bucket=BUCKET, Key="run/large.parquet")["Body"].read()
    assert body == contents["large.parquet"]


def test_a_part_that_cannot_be_uploaded_fails_the_sync_and_leaves_no_parts(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MULTIPART_FROM_BYTES", 4 * PART)
    real = s3.upload_part

    def fails_on_the_third(**asked: Any) -> Any:
        if asked["PartNumber"] == 3:
            raise OSError("connection reset")
        return real(**asked)

    monkeypatch.setattr(s3, "upload_part", fails_on_the_third)
    with pytest.raises(ResultsSyncFailed, match=r"large\.parquet: expected an intact upload in 4 tries"):
        upload_all(s3, BUCKET, "run/", written({"large.parquet": os.urandom(5 * PART)}, tmp_path), lambda _: None)
    assert not s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def written(contents: dict[str, bytes], folder: Path) -> list[tuple[str, Path]]:
    files = []
    for name, body in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        files.append((name, path))
    return files
