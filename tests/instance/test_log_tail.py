"""The end of the log, uploaded while the worker works: bounded, only when changed, in nobody's way."""

import time
from pathlib import Path

import pytest

from instance import log_tail
from instance.log_tail import TAIL_BYTES, LogTail
from tests.instance.test_state_reports import eventually


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "training.log"


def test_what_was_written_since_is_uploaded_and_nothing_twice(log: Path) -> None:
    kept: list[bytes] = []
    tail = LogTail(log, kept.append, period_seconds=60)
    tail.keep()
    log.write_text("")
    tail.keep()
    log.write_text("one\n")
    tail.keep()
    tail.keep()
    with log.open("a") as file:
        file.write("two\n")
    tail.keep()
    assert kept == [b"one\n", b"one\ntwo\n"]


def test_of_a_long_log_only_the_end_is_uploaded(log: Path) -> None:
    kept: list[bytes] = []
    log.write_bytes(b"begin" + b"x" * TAIL_BYTES + b"end")
    LogTail(log, kept.append, period_seconds=60).keep()
    assert len(kept[0]) == TAIL_BYTES
    assert kept[0].endswith(b"xend")


def test_an_upload_that_failed_is_made_again_at_the_next_look(log: Path) -> None:
    kept: list[bytes] = []

    def put(body: bytes) -> None:
        kept.append(body)
        if len(kept) == 1:
            raise ConnectionError("S3 is away")

    log.write_text("one\n")
    tail = LogTail(log, put, period_seconds=0.01)
    tail.start()
    eventually(lambda: len(kept) == 2)
    time.sleep(0.1)
    tail.stop(5)
    assert kept == [b"one\n", b"one\n"]


def test_after_the_stop_nothing_is_uploaded_any_more(log: Path) -> None:
    kept: list[bytes] = []
    tail = LogTail(log, kept.append, period_seconds=0.01)
    tail.start()
    tail.stop(5)
    log.write_text("late\n")
    time.sleep(0.1)
    assert kept == []
    assert not tail.thread.is_alive()


def test_a_log_that_cannot_be_read_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "training.log"
    folder.mkdir()
    (folder / "something").touch()
    tail = LogTail(folder, lambda _: None, period_seconds=60)
    with caplog.at_level("WARNING", log_tail.__name__):
        tail.keep()
    assert "the end of training.log could not be uploaded" in caplog.text
