"""Starts, fills and ends an embedded cloud. Runs on a person's machine, in tests and in `python -m local`."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from local import deployment, processes
from local.state_folder import CLOUD_MARKER, PARENT_MARKER, StateFolder, read_json

REGION = "us-east-1"
HEALTH = "/_ministack/health"
START_SECONDS = 60.0
STOP_SECONDS = 6.0
ATTEMPTS = 3
NAMES = {
    "StateMachineArn": "STATE_MACHINE_ARN",
    "BucketName": "BUCKET",
    "RunsTableName": "RUNS_TABLE",
    "LaunchTemplateId": "LAUNCH_TEMPLATE_ID",
    "MachineRoleId": "MACHINE_ROLE_ID",
}
# The server keeps these settings of the person; the rest of the environment does not reach it.
PASSED_ON = ("PATH", "HOME", "LANG", "SFN_WAIT_SCALE", "LOG_LEVEL")
# What the cloud that ran here before has left.
LEFT_BEHIND = (
    "server.json", "outputs.json", "capacity.json", "permissions.jsonl", "calls.jsonl", "tasks.json", "events.json",
    "functions.json", "capacity.met", "tasks.met", "events.met", "functions.met", "functions.calls", "quotas.json",
    "machines.json", "instances", "tmp", "data",
)  # fmt: skip
# MiniStack's switch.
ENFORCE = "AUTH"
PASSED_ON_PREFIX = "CHRONOS_LOCAL_"


class CloudError(RuntimeError):
    """The embedded cloud is not in the state that was needed; the message says what to do."""


class LocalCloud:
    """One embedded cloud: a server process, its instances and Lambda workers, and a folder for all state.

    Parameters
    ----------
    state_folder : Path
        Holds everything; another folder is another cloud, and any number can run side by side.
    """

    def __init__(self, state_folder: Path) -> None:
        self.folder = StateFolder(state_folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the server process is there and answers."""
        return self._server_pid() is not None and self._healthy()

    def start(self, *, detached: bool = False, controller_endpoint: str = "", enforce_iam: bool = False) -> None:
        """Start the server on a free port and wait until it answers.

        Parameters
        ----------
        detached : bool
            Let the server outlive this process; otherwise it ends itself when this process is gone.
        controller_endpoint : str
            Where the Lambdas send their AWS calls, such as a proxy in front of this cloud; the cloud itself if empty.
        enforce_iam : bool
            Refuse what the roles' policies do not allow, and keep every check; see `local.permissions`.

        Raises
        ------
        CloudError
            When a cloud already runs in this folder, or the server does not come up.
        """
        if self.running:
            raise CloudError(f"{self.folder.path}: a cloud already runs here. End it with `python -m local down`.")
        self.stop()
        for name in LEFT_BEHIND:
            _remove(self.folder.path / name)
        for _ in range(ATTEMPTS):
            process = self._spawn(free_port(), detached, controller_endpoint, enforce_iam)
            if self._came_up(process):
                self._process = process
                return
        raise CloudError(f"The server did not come up. See {self.folder.log}:\n{self._log_tail()}")

    def deploy(self, assembly: Path | None = None, progress: Callable[[str], None] = lambda _: None) -> None:
        """Deploy the stack, synthesized by `app.py` or given as a cloud assembly.

        Raises
        ------
        CloudError
            When no cloud runs here.
        DeploymentFailed
            When a tool is missing or fails.
        """
        deployment.deploy(self.folder, self.credentials(), assembly, progress)

    def credentials(self) -> dict[str, str]:
        """Return the variables that point an AWS client at this cloud; raises CloudError when none runs here."""
        if not self.running:
            raise CloudError(f"{self.folder.path}: no cloud runs here. Start one with `python -m local up`.")
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._port()}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
        }

    def environment(self) -> dict[str, str]:
        """Return the credentials and the deployed stack's outputs; raises CloudError when no cloud runs here."""
        outputs = deployment.outputs(self.folder)
        return self.credentials() | {NAMES[name]: value for name, value in outputs.items() if name in NAMES}

    def stop(self) -> None:
        """End the server and every process it, its instances or its Lambdas started. Nothing to end is no error.

        Raises
        ------
        CloudError
            When a process survives.
        """
        if (pid := self._server_pid()) is not None:
            processes.end(lambda: [pid] if self._server_pid() == pid else [], STOP_SECONDS)
        left = processes.kill(lambda: processes.find(CLOUD_MARKER, self.folder.identity))
        self.folder.server.unlink(missing_ok=True)
        if self._process:
            self._process.wait()
            self._process = None
        if left:
            raise CloudError(f"Processes {left} could not be ended. End them by hand.")

    def left_over(self) -> list[int]:
        """Return the processes of this cloud that are alive; empty after `stop`."""
        return processes.find(CLOUD_MARKER, self.folder.identity)

    def _server_pid(self) -> int | None:
        pid = read_json(self.folder.server).get("pid")
        return pid if pid in processes.find(CLOUD_MARKER, self.folder.identity) else None

    def _port(self) -> int:
        return int(read_json(self.folder.server).get("port", 0))

    def _healthy(self) -> bool:
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self._port()}{HEALTH}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        return False

    def _spawn(self, port: int, detached: bool, controller_endpoint: str, enforce_iam: bool) -> subprocess.Popen[bytes]:
        self.folder.temporary.mkdir(parents=True, exist_ok=True)
        with self.folder.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 - our own server
                [sys.executable, "-m", "local.server", str(self.folder.path)],
                cwd=deployment.REPOSITORY,
                env=self._server_environment(port, detached, controller_endpoint) | {ENFORCE: str(enforce_iam).lower()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _server_environment(self, port: int, detached: bool, controller_endpoint: str) -> dict[str, str]:
        kept = {name: value for name in PASSED_ON if (value := os.environ.get(name))}
        kept |= {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON_PREFIX)}
        folders = {"TMPDIR": "tmp", "S3_DATA_DIR": "data/s3", "STATE_DIR": "data/state"}
        own = {
            CLOUD_MARKER: self.folder.identity,
            "GATEWAY_PORT": str(port),
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "MINISTACK_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "LAMBDA_EXECUTOR": "local",
            "PERSIST_STATE": "0",
            "S3_PERSIST": "0",
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            PARENT_MARKER: "" if detached else str(os.getpid()),
        }
        # A Lambda worker inherits it; without it MiniStack names itself there.
        endpoint = {"AWS_ENDPOINT_URL": controller_endpoint} if controller_endpoint else {}
        return kept | own | endpoint | {name: str(self.folder.path / part) for name, part in folders.items()}

    def _came_up(self, process: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            if self._server_pid() == process.pid and self._healthy():
                return True
            time.sleep(0.1)
        process.kill()
        process.wait()
        return False

    def _log_tail(self) -> str:
        return "\n".join(self.folder.log.read_text(errors="replace").splitlines()[-20:])


def free_port() -> int:
    """Return a port of this computer that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
