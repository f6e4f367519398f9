"""How the supervisor is called: its command line, its start, and an end that it cannot deliver."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.documents import parse
from instance.identity import parse_arguments
from instance.main import _started_at, main
from tests.instance.samples import BUCKET, FOLDER, INSTANCE_ID, PREFIX, ROLE_ID, RUN_ID, storage

ARGUMENTS = [
    f"--bucket={BUCKET}", f"--prefix={PREFIX}", f"--run-id={RUN_ID}", "--attempt=1", f"--role-id={ROLE_ID}",
    f"--instance-id={INSTANCE_ID}", "--instance-type=g4dn.2xlarge", "--market=spot",
]  # fmt: skip


@pytest.mark.parametrize("junk", ["", "yesterday", "2026-11-23"])
def test_a_start_that_cannot_be_read_is_now(tmp_path: Path, junk: str) -> None:
    (tmp_path / "started_at").write_text(junk)
    began = datetime.fromisoformat(_started_at(tmp_path / "started_at"))
    assert abs(datetime.now(UTC) - began) < timedelta(minutes=1)


def test_the_entry_leaves_an_end_it_cannot_deliver_to_the_bootstrap(tmp_path: Path) -> None:
    script = (
        "import os, sys, boto3, botocore.config, instance.main as entry, instance.state_report as report\n"
        "once = botocore.config.Config(retries={'total_max_attempts': 1})\n"
        "entry.s3_client = lambda **_: boto3.client('s3', config=once)\n"
        "report.RETRY_SECONDS = report.LAST_PAUSE_SECONDS = 0.01\n"
        "sys.exit(entry.main(sys.argv[1:], os.environ))\n"
    )
    arguments = [*ARGUMENTS, f"--work-dir={tmp_path}", f"--log-dir={tmp_path}"]
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_DEFAULT_REGION": "us-east-1"}
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env={**os.environ, **nowhere, **keys}, check=False, timeout=60)
    assert done.returncode == 1
    assert parse("system_state", (tmp_path / "state" / "terminal.json").read_bytes())["error"]["code"] == "BootFailed"


def test_a_wrong_command_line_ends_with_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--bucket", "b"], {})
    assert "required" in capsys.readouterr().err


@pytest.mark.parametrize("given", [[], ["--earlier-instances", ""]])
def test_a_first_attempt_has_a_folder_and_no_earlier_ones(given: list[str]) -> None:
    identity, _ = parse_arguments([*ARGUMENTS, "--work-dir=w", "--log-dir=l", *given])
    assert identity.folder == FOLDER == f"{PREFIX}machines/{ROLE_ID}:{INSTANCE_ID}/"
    assert identity.earlier_folders == ()


def test_the_folders_of_earlier_attempts_are_given_newest_first() -> None:
    earlier = "i-00000000000000001 i-00000000000000002"
    identity, _ = parse_arguments([*ARGUMENTS, "--work-dir=w", "--log-dir=l", "--earlier-instances", earlier])
    assert identity.earlier_folders == (storage(2).folder, storage(1).folder)
