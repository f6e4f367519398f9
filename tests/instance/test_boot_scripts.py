"""user_data.sh and environment.sh, run by bash in a scratch root with stand-ins for aws, shutdown and python3.11."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from contracts.layout import TAG_EARLIER_INSTANCES
from instance.metadata_service import MetadataService, metadata_service
from tests.instance.samples import BUCKET, FOLDER, INSTANCE_ID, PREFIX, ROLE_ID, RUN_ID
from tests.instance.scratch_machine import INSTANCE, METADATA, PLACEHOLDERS, TERMINAL, Imds, Machine

STATE = f"{FOLDER}system-state.json"
EARLIER = f"tags/instance/{TAG_EARLIER_INSTANCES}"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Imds)
    server.metadata = dict(METADATA)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    yield Machine(tmp_path, endpoint, server.metadata)  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["user_data.sh", "environment.sh"])
def test_the_scripts_parse(name: str) -> None:
    subprocess.run(["bash", "-n", str(INSTANCE / name)], check=True)


def test_user_data_fits_with_room_and_has_only_the_known_placeholders() -> None:
    text = (INSTANCE / "user_data.sh").read_text()
    assert len(text.encode()) < 6 * 1024
    assert set(text.split("@@")[1::2]) == {"NAMES", *PLACEHOLDERS}


def test_a_boot_reports_first_and_hands_over_to_the_supervisor(machine: Machine) -> None:
    machine.bring_environment()
    assert machine.boot(SUPERVISE=TERMINAL) == 0
    assert machine.calls[0] == "shutdown -P +140"
    assert machine.calls[1].startswith(f"aws s3api put-object --bucket {BUCKET} --key {STATE} ")
    assert machine.calls[-1] == "shutdown -P now"
    first = machine.states[0]
    assert (first["seq"], first["status"], first["phase"], first["attempt"]) == (1, "booting", "boot", 1)
    assert {state["status"] for state in machine.states} == {"booting"}
    supervisor = next(call for call in machine.calls if call.startswith("python "))
    assert supervisor == (
        f"python -m instance.main --bucket {BUCKET} --prefix {PREFIX} --run-id {RUN_ID} --attempt 1 "
        f"--role-id {ROLE_ID} --instance-id {INSTANCE_ID} --earlier-instances  "
        f"--instance-type g4dn.2xlarge --market spot --work-dir {machine.home} --log-dir {machine.root}/var/log/chronos"
    )
    moments = [line.split()[1] for line in (machine.home / "state" / "timeline").read_text().splitlines()]
    assert moments == ["bootstrap", "shutdown-armed", "first-state", "code", "environment-on-image", "environment"]


def test_a_boot_that_fails_uploads_logs_and_says_so_before_it_shuts_down(machine: Machine) -> None:
    assert machine.boot(AWS_BROKEN="code.zip") == 1
    state = machine.states[-1]
    assert (state["status"], state["error"]["code"]) == ("failed", "BootFailed")
    assert "aws s3 cp" in state["error"]["message"]
    assert "exit" in state["error"]["message"]
    assert [one["seq"] for one in machine.states] == list(range(1, len(machine.states) + 1))
    assert "aws s3 cp" in (machine.bucket / f"{FOLDER}logs/bootstrap.log").read_text()
    assert machine.calls[-1] == "shutdown -P now"
    log, end = (next(i for i, call in enumerate(machine.calls) if what in call) for what in ("bootstrap.log", "P now"))
    last_state = max(i for i, call in enumerate(machine.calls) if STATE in call)
    assert log < last_state < end


def test_a_supervisor_that_dies_is_a_failed_boot(machine: Machine) -> None:
    machine.bring_environment()
    machine.boot(SUPERVISE="kill -9 $$")
    assert machine.states[-1]["error"]["code"] == "BootFailed"
    assert "the supervisor ended without a report" in machine.states[-1]["error"]["message"]


def test_an_end_the_supervisor_could_not_deliver_is_delivered(machine: Machine) -> None:
    machine.bring_environment()
    end = {**json.loads(VALID_END), "seq": 9}
    (machine.folder / "end.json").write_text(json.dumps(end))
    machine.boot(SUPERVISE=f'cp {machine.folder}/end.json "$CHRONOS_ROOT/opt/chronos/state/terminal.json"; exit 1')
    assert (machine.states[-1]["status"], machine.states[-1]["seq"]) == ("completed", 9)


@pytest.mark.parametrize("max_minutes", ["", "soon", "99999", "$(reboot)"])
def test_without_a_usable_limit_the_shutdown_is_armed_at_the_default(machine: Machine, max_minutes: str) -> None:
    machine.bring_environment()
    machine.metadata["tags/instance/MaxMinutes"] = max_minutes
    machine.boot(SUPERVISE=TERMINAL)
    assert machine.calls[0] == "shutdown -P +180"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("tags/instance/RunId", '2026", "x": "'),
        ("tags/instance/RunPrefix", "phase1/../other/"),
        ("tags/instance/Attempt", "1; reboot"),
        ("instance-id", "i-$(reboot)"),
    ],
)
def test_tags_that_are_not_what_they_should_be_end_the_machine(machine: Machine, path: str, value: str) -> None:
    machine.metadata[path] = value
    assert machine.boot() == 1
    assert machine.calls == ["shutdown -P +140", "shutdown -P now"]


def told_of_earlier(machine: Machine) -> str:
    """Boot, and return what the supervisor was told of earlier attempts."""
    machine.bring_environment()
    assert machine.boot(SUPERVISE=TERMINAL) == 0
    supervisor = next(call for call in machine.calls if call.startswith("python "))
    return supervisor.partition("--earlier-instances ")[2].partition(" --instance-type")[0]


@pytest.mark.parametrize("earlier", ["i-0000000000000000a", "i-0000000000000000a i-0123abcd i-0000000000000000b"])
def test_the_supervisor_is_told_the_machines_of_earlier_attempts(machine: Machine, earlier: str) -> None:
    machine.metadata[EARLIER] = earlier
    assert told_of_earlier(machine) == earlier


@pytest.mark.parametrize(
    "junk", ["", "i-x", "i-0123abcd,i-0123abce", "i-0123abcd ", "$(reboot)", "i-0123abcd --market x"]
)
def test_a_list_of_earlier_machines_that_is_none_does_not_fail_the_boot(machine: Machine, junk: str) -> None:
    machine.metadata[EARLIER] = junk
    assert told_of_earlier(machine) == ""
    assert {state["status"] for state in machine.states} == {"booting"}


def test_a_list_of_earlier_machines_that_cannot_be_read_does_not_fail_the_boot(machine: Machine) -> None:
    machine.metadata[EARLIER] = Imds.BROKEN
    assert told_of_earlier(machine) == ""


def test_a_boot_writes_nothing_of_a_run_outside_the_machine_s_folder(machine: Machine) -> None:
    machine.boot(AWS_BROKEN="code.zip")
    written = [str(path.relative_to(machine.bucket)) for path in machine.bucket.rglob("*") if path.is_file()]
    assert sorted(written) == ["code.zip", f"{FOLDER}logs/bootstrap.log", f"{FOLDER}system-state.json"]


def test_the_environment_is_built_once_kept_and_then_restored(machine: Machine) -> None:
    machine.boot(SUPERVISE=TERMINAL)
    assert any("pip install" in call and "requirements.lock" in call for call in machine.calls)
    kept = sorted(path.name for path in (machine.bucket / "cached-datasets" / "python-env").iterdir())
    assert [name.rpartition(".")[2] for name in kept] == ["gz", "metadata"]
    shutil.rmtree(machine.home)
    (machine.folder / "calls").unlink()
    machine.boot(SUPERVISE=TERMINAL)
    assert not any("pip install" in call for call in machine.calls)
    assert any("-m instance.main" in call for call in machine.calls)


def test_a_damaged_packed_environment_is_built_again(machine: Machine) -> None:
    machine.boot(SUPERVISE=TERMINAL)
    archive = next((machine.bucket / "cached-datasets" / "python-env").glob("*.tar.gz"))
    damaged = archive.read_bytes()[:-20]
    archive.write_bytes(damaged)
    shutil.rmtree(machine.home)
    (machine.folder / "calls").unlink()
    machine.boot(SUPERVISE=TERMINAL)
    assert any("pip install" in call for call in machine.calls)
    assert archive.read_bytes() == damaged, "no machine may replace what later machines run"
    assert "delete it from the bucket" in (machine.root / "var/log/chronos/bootstrap.log").read_text()


def test_an_environment_that_cannot_be_kept_does_not_end_the_run(machine: Machine) -> None:
    assert machine.boot(SUPERVISE=TERMINAL, AWS_BROKEN="python-env") == 0
    assert any("-m instance.main" in call for call in machine.calls)


def test_heartbeats_go_on_while_the_environment_is_built(machine: Machine) -> None:
    slow = (machine.programs / "python3.11").read_text().replace("mkdir", "sleep 6; mkdir")
    (machine.programs / "python3.11").write_text(slow)
    machine.boot(SUPERVISE=TERMINAL)
    assert [state["seq"] for state in machine.states][:2] == [1, 2]
    assert machine.states[1]["message"] == "Installing the Python packages."


def test_the_spot_notice_is_read_with_a_token(machine: Machine) -> None:
    service = metadata_service({"AWS_EC2_METADATA_SERVICE_ENDPOINT": machine.endpoint + "/"})
    assert service.spot_interruption() is None
    machine.metadata["spot/instance-action"] = '{"action": "terminate", "time": "2026-11-23T18:02:00Z"}'
    assert service.spot_interruption() == "2026-11-23T18:02:00Z"
    service.token = "expired"
    assert service.spot_interruption() is None
    assert service.spot_interruption() == "2026-11-23T18:02:00Z"


def test_a_silent_metadata_service_is_no_spot_notice() -> None:
    assert MetadataService("http://127.0.0.1:9").spot_interruption() is None


VALID_END = json.dumps(
    {
        "schema_version": 1,
        "run_id": RUN_ID,
        "attempt": 1,
        "instance_id": INSTANCE_ID,
        "seq": 1,
        "status": "completed",
        "phase": "done",
        "heartbeat_at": "2026-11-23T18:00:00Z",
    }
)
