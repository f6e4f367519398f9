"""One embedded cloud and one MiniStack without our pieces for all tests of this folder. Runs with pytest."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.cloud import LocalCloud
from local.faults import Faults
from tests.local.bench import Bench
from tests.waiting import until

MINUTE_SECONDS = 1.0
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHRONOS_LOCAL_MINUTE_SECONDS", str(MINUTE_SECONDS))
        patch.setenv("CHRONOS_LOCAL_CHANGE_SECONDS", "0.3")
        patch.setenv("SFN_WAIT_SCALE", "1")
        started = LocalCloud(tmp_path_factory.mktemp("cloud"))
        started.start()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def bench(cloud: LocalCloud) -> Bench:
    return Bench(cloud.credentials())


@pytest.fixture
def faults(cloud: LocalCloud) -> Iterator[Faults]:
    breaker = Faults(cloud.folder.path)
    yield breaker
    breaker.set_capacity({})
    breaker.set_quotas({})


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """MiniStack as it comes. When a test on it fails, MiniStack has caught up and our piece can go."""
    folder = tmp_path_factory.mktemp("plain")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    own = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "TMPDIR": str(folder), "S3_DATA_DIR": str(folder)}
    own |= {"IOT_MTLS_ENABLED": "0", "SFTP_ENABLED": "0", "PATH": os.environ["PATH"], "HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "ministack"], env=own, stdout=log, stderr=log)
    try:
        until(lambda: _answers(port))
        yield Bench({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", **CREDENTIALS})
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_ministack/health", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    return tmp_path / "state"
