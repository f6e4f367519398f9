"""Which run, attempt and machine this is, and where its files are. Runs on the instance, in the supervisor."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.layout import MACHINE_LOGS, machine_folder


@dataclass(frozen=True)
class Identity:
    """What the bootstrap knows of its run, from the instance's tags and metadata and from the launch template.

    Parameters
    ----------
    bucket, prefix : str
        The run's place on S3, where its manifest is read; `prefix` ends with a slash. Nothing is written beside it.
    run_id, attempt, instance_id
        What every state report is matched by.
    role_id : str
        Unique id of the machine's role (AROA...), a part of the folder's name.
    instance_type, market : str
        What the price depends on; market is on_demand or spot.
    earlier_instances : tuple of str
        Instance ids of the run's earlier attempts, in their order.
    """

    bucket: str
    prefix: str
    run_id: str
    attempt: int
    role_id: str
    instance_id: str
    instance_type: str
    market: str
    earlier_instances: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """Key prefix of all that this machine writes; its role may write nowhere else below `phase1/`."""
        return machine_folder(self.prefix, self.role_id, self.instance_id)

    @property
    def earlier_folders(self) -> tuple[str, ...]:
        """The folders of the earlier attempts' machines, the newest first: where checkpoints may be."""
        return tuple(machine_folder(self.prefix, self.role_id, one) for one in reversed(self.earlier_instances))


@dataclass(frozen=True)
class Folders:
    """Where the machine keeps what.

    Parameters
    ----------
    work : Path
        /opt/chronos: state/ is shared with the bootstrap, run/ belongs to the worker.
    logs : Path
        /var/log/chronos; cloud-init's own log is beside it.
    """

    work: Path
    logs: Path

    @property
    def state(self) -> Path:
        """Sequence counter, boot timeline and terminal marker."""
        return self.work / "state"

    @property
    def run(self) -> Path:
        """Data, weights and results."""
        return self.work / "run"

    def log_files(self) -> list[Path]:
        """Return the logs worth keeping, whether they exist or not."""
        bootstrap, training, cloud_init = MACHINE_LOGS
        return [self.logs / bootstrap, self.logs / training, self.logs.parent / cloud_init]


def parse_arguments(arguments: Sequence[str]) -> tuple[Identity, Folders]:
    """Read the supervisor's command line; ends the process with a usage message when it is wrong."""
    parser = argparse.ArgumentParser(description="Supervise one attempt of a run.")
    for name in ("bucket", "run-id", "prefix", "role-id", "instance-id", "instance-type"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--earlier-instances", type=_words, default=(), help="ids with a space between them")
    parser.add_argument("--market", choices=["on_demand", "spot"], required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--log-dir", type=Path, required=True)
    parsed = parser.parse_args(arguments)
    identity = Identity(
        bucket=parsed.bucket,
        prefix=parsed.prefix,
        run_id=parsed.run_id,
        attempt=parsed.attempt,
        role_id=parsed.role_id,
        instance_id=parsed.instance_id,
        instance_type=parsed.instance_type,
        market=parsed.market,
        earlier_instances=parsed.earlier_instances,
    )
    return identity, Folders(work=parsed.work_dir, logs=parsed.log_dir)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())
