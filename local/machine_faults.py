"""What a machine lacks on purpose: room on its disk, memory for its worker. Runs in the cloud's server (Linux).

`machines.json` in the state folder says what machines get that are launched from then on: {"own_disk": true} puts the
root volume on a disk of its own, which can then run full without this computer's own disk being touched; {"own_clock":
true} gives a clock that can be put wrong (`local.wrong_clock`).
"""

import signal
import subprocess
import time

from local import processes
from local.machine import Machine

TRIES = 20
PAUSE_SECONDS = 0.1
# A remount to what is in use leaves no room; it is refused while more is in use than was measured, and nothing would
# mean without a limit: https://docs.kernel.org/filesystems/tmpfs.html
FILL = """
used=$(($(df --output=used -k "$1" | tail -n 1)))
[ "$used" -gt 0 ] || used=4
mount -o "remount,size=${used}k" "$1"
"""


def fill_disk(machine: Machine) -> str:
    """Let the machine's disk be full from now on: every write fails with ENOSPC.

    Raises
    ------
    ValueError
        When the machine has no disk of its own, or none of its processes lives.
    """
    for _ in range(TRIES):
        pids = machine.pids()
        if not machine.own_disk or not pids:
            break
        enter = ["nsenter", "--target", str(min(pids)), "--user", "--mount", "--preserve-credentials"]
        command = [*enter, "/bin/sh", "-ec", FILL, "fill", str(machine.root)]
        if not subprocess.run(command, capture_output=True, check=False).returncode:  # noqa: S603
            return "the disk is full"
        time.sleep(PAUSE_SECONDS)
    raise ValueError(f"{machine.instance_id}: expected a disk of its own and a living process. Set own_disk first.")


def exhaust_memory(machine: Machine) -> str:
    """Kill the largest process of the worker, as the kernel does when memory runs out.

    The largest, since that is what the kernel chooses: https://docs.kernel.org/filesystems/proc.html (oom_score).

    Raises
    ------
    ValueError
        When there is no worker.
    """
    pids = machine.worker_pids()
    if not pids:
        raise ValueError(f"{machine.instance_id}: expected a worker, found none. Wait until it runs.")
    processes.send([max(pids, key=_resident_pages)], signal.SIGKILL)
    return "the largest process of the worker was killed"


def _resident_pages(pid: int) -> int:
    try:
        return int((processes.PROCESSES / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0
