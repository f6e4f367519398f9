"""Phase preflight: is this machine fit for the run? Runs on the instance, in the worker."""

import hashlib
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from contracts.reasons import PreflightFailed
from instance.hardware import Hardware, decide, probe

GIB = 1 << 30
SPARE_DISK_BYTES = 1 * GIB
DISK_PER_DATA_BYTE = 10  # the download, rows spooled and sorted, the series, checkpoints and results
MINIMUM_MEMORY_BYTES = 1 * GIB
NVIDIA_SMI_SECONDS = 20


@dataclass(frozen=True)
class Environment:
    """Installed packages: versions by name, and one hash over them (hex)."""

    packages: dict[str, str]
    sha256: str


@cache
def installed_packages() -> Environment:
    """Return the installed packages; the hash is SHA-256 over the sorted lines `name==version`.

    Each package's whole metadata is parsed for that, a tenth of a second in all, so it is looked at once a process.
    """
    described = [dist.metadata for dist in distributions()]
    found = {(package["Name"] or "").lower(): package["Version"] for package in described}
    packages = {name: found[name] for name in sorted(found) if name}
    lines = "".join(f"{name}=={version}\n" for name, version in packages.items())
    return Environment(packages, hashlib.sha256(lines.encode()).hexdigest())


def check_machine(manifest: dict[str, Any], work_dir: Path, cpu_allowed: bool) -> tuple[Hardware, dict[str, Any]]:
    """Check GPU, disk and memory.

    Parameters
    ----------
    manifest : dict
        manifest.json.
    work_dir : Path
        Where data and results will go.
    cpu_allowed : bool
        Whether the run may go on without a GPU.

    Returns
    -------
    hardware : Hardware
    details : dict
        What was found, for training.json.

    Raises
    ------
    PreflightFailed
        No usable GPU, too little disk or memory.
    """
    hardware = probe()
    details: dict[str, Any] = {
        "gpu": hardware.name if hardware.cuda else None,
        "driver": nvidia_driver(),
        "placement": asdict(decide(hardware)),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "disk_free_bytes": shutil.disk_usage(work_dir).free,
        "memory_available_bytes": available_memory(),
        "environment_sha256": installed_packages().sha256,
    }
    if not hardware.cuda and not cpu_allowed:
        raise PreflightFailed(
            f"expected a CUDA device, found none (driver: {details['driver'] or 'not found'}). "
            "Set allow_cpu in the request to go on without one."
        )
    _expect_at_least("disk", details["disk_free_bytes"], disk_needed(manifest))
    _expect_at_least("memory", details["memory_available_bytes"], MINIMUM_MEMORY_BYTES)
    return hardware, details


def disk_needed(manifest: dict[str, Any]) -> int:
    """Return the bytes a run needs on disk: ten times the data (see above), weights once, a GiB to spare."""
    data = sum(reference["bytes"] for reference in manifest["dataset"]["objects"])
    weights = sum(reference["bytes"] for reference in (manifest["chronos_weights"] or {"objects": []})["objects"])
    return int(DISK_PER_DATA_BYTE * data + weights + SPARE_DISK_BYTES)


def available_memory() -> int:
    """Return the bytes of memory a new process can have, of Linux's own estimate (proc(5), MemAvailable)."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise PreflightFailed("expected MemAvailable in /proc/meminfo, found none. Use Linux 3.14 or later.")


def nvidia_driver() -> str | None:
    """Return the NVIDIA driver's version, or None without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().splitlines()[0] if done.stdout.strip() else None


def _expect_at_least(what: str, found: int, needed: int) -> None:
    if found < needed:
        raise PreflightFailed(
            f"expected {needed / GIB:.1f} GiB of free {what}, found {found / GIB:.1f} GiB. Use a larger machine or "
            "volume, or a smaller data set."
        )
