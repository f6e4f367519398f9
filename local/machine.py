"""One EC2 instance as a process group: its scratch root, environment, user data and end. Runs in the cloud's server."""

import base64
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from local import processes
from local.state_folder import INSTANCE_MARKER
from local.wrong_clock import install_clock

GRACE_SECONDS = 2.0
CONSOLE_BYTES = 64 * 1024
WORKER = "instance.worker"
# A disk of its own: a file system in memory, seen by this machine's processes only, with what the image brings.
# https://man7.org/linux/man-pages/man7/user_namespaces.7.html lets anybody mount one there.
OWN_DISK = ["unshare", "--map-root-user", "--mount", "/bin/bash", "-ec"]
MOUNT = """
cp -a "$1" "$1.image"
mount -t tmpfs -o size=4g,mode=755 tmpfs "$1"
cp -a "$1.image/." "$1/"
cd "$1"
shift
exec "$@"
"""
SHIM = """#!{python} -SE
import sys, urllib.request, urllib.error
request = urllib.request.Request("{url}", "\\n".join(sys.argv[1:]).encode(), method="POST")
try:
    print(urllib.request.urlopen(request, timeout=10).read().decode(), file=sys.stderr)
except urllib.error.HTTPError as error:
    sys.exit("shutdown: " + error.read().decode())
"""


class Machine:
    """The processes and files of one instance.

    Parameters
    ----------
    instance_id : str
        EC2 instance id.
    folder : Path
        The instance's folder in the state folder; its scratch root is `folder/root`.
    own_disk : bool
        Whether its scratch root is a file system of its own, which `local.machine_faults` can fill.
    own_clock : bool
        Whether its clock can be put wrong, see `local.wrong_clock`.
    """

    def __init__(self, instance_id: str, folder: Path, own_disk: bool = False, own_clock: bool = False) -> None:
        self.own_disk = own_disk
        self._own_clock = own_clock
        self._clock: dict[str, str] = {}
        self.instance_id = instance_id
        self.folder = folder
        self.root = folder / "root"
        self.console = folder / "console.log"

    def install(self, shutdown_url: str) -> None:
        """Lay out the scratch root as the machine image brings it, with the Python environment and the shims."""
        for name in ("root", "tmp", "opt/chronos", "var/log", "var/lib", "etc"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "opt/chronos/env").symlink_to(sys.prefix, target_is_directory=True)
        self.console.touch()
        (self.root / "var/log/cloud-init-output.log").symlink_to(self.console)
        shims = self.folder / "shims"
        shims.mkdir()
        shim = shims / "shutdown"
        shim.write_text(SHIM.format(python=sys.executable, url=shutdown_url))
        shim.chmod(0o755)
        if self._own_clock:
            self._clock = install_clock(self.folder, shims)

    def start(self, user_data: str, environment: dict[str, str]) -> None:
        """Start user data (base64) as cloud-init does at first boot.

        Nothing runs when the text does not begin with `#!`, as on AWS:
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/user-data.html
        """
        script = base64.b64decode(user_data)
        if not script.startswith(b"#!"):
            self.note("user data is empty or does not begin with #!, nothing to run")
            return
        path = self.folder / "user-data"
        path.write_bytes(script)
        with self.console.open("ab") as console:
            process = subprocess.Popen(  # noqa: S603 - running what was launched is this file's purpose
                [*self._before(), "/bin/bash", str(path)],
                cwd=self.root,
                env=self.environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        threading.Thread(target=self._collect, args=(process,), daemon=True).start()

    def _before(self) -> list[str]:
        return [*OWN_DISK, MOUNT, "own-disk", str(self.root)] if self.own_disk else []

    def environment(self, extra: dict[str, str]) -> dict[str, str]:
        """Return the instance's environment: nothing of the person's own, the scratch root in place of `/`."""
        path = [str(self.folder / "shims"), str(Path(sys.prefix) / "bin"), "/usr/bin", "/bin"]
        return {
            "PATH": ":".join(path),
            "HOME": str(self.root / "root"),
            "TMPDIR": str(self.root / "tmp"),
            "LANG": "C.UTF-8",
            "CHRONOS_ROOT": str(self.root),
            "CHRONOS_ALLOW_CPU": "1",
            INSTANCE_MARKER: self.instance_id,
            **self._clock,
            **extra,
        }

    def note(self, text: str) -> None:
        """Add a line of the host's own to the console."""
        with self.console.open("a") as console:
            console.write(f"[ec2] {text}\n")

    def _collect(self, process: subprocess.Popen[bytes]) -> None:
        self.note(f"user data ended with exit code {process.wait()}")

    def console_tail(self) -> bytes:
        """Return the last 64 KiB of the console, as GetConsoleOutput does."""
        return self.console.read_bytes()[-CONSOLE_BYTES:] if self.console.exists() else b""

    def pids(self) -> list[int]:
        """Return the ids of all living processes of the instance."""
        return processes.find(INSTANCE_MARKER, self.instance_id)

    def worker_pids(self) -> list[int]:
        """Return the ids of the training worker's processes."""
        return [pid for pid in self.pids() if WORKER in processes.command_line(pid)]

    def stop(self) -> None:
        """End every process, politely first; the console stays."""
        left = processes.end(self.pids, GRACE_SECONDS)
        if left:
            self.note(f"processes that could not be ended: {left}")

    def kill(self) -> None:
        """End every process at once, as when the hardware fails."""
        processes.kill(self.pids)

    def erase(self) -> None:
        """Delete the root volume."""
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(f"{self.root}.image", ignore_errors=True)
