"""Which run, attempt and machine this is, and where its files are. Runs on the instance, in the supervisor."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.layout import MACHINE_LOGS


@dataclass(frozen=True)
class Identity:
    """What the bootstrap knows of its run, from the instance's tags and metadata.

    Parameters
    ----------
    bucket, prefix : str
        The run's place on S3; `prefix` ends with a slash.
    run_id, attempt, instance_id
        What every state report is matched by.
    instance_type, market : str
        What the price depends on; market is on_demand or spot.
    """

    bucket: str
    prefix: str
    run_id: str
    attempt: int
    instance_id: str
    instance_type: str
    market: str

    @property
    def log_prefix(self) -> str:
        """Key prefix of this attempt's logs."""
        return f"{self.prefix}logs/attempt-{self.attempt}/"


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
    for name in ("bucket", "run-id", "prefix", "instance-id", "instance-type"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--attempt", type=int, required=True)
    parser.add_argument("--market", choices=["on_demand", "spot"], required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--log-dir", type=Path, required=True)
    parsed = parser.parse_args(arguments)
    identity = Identity(
        bucket=parsed.bucket,
        prefix=parsed.prefix,
        run_id=parsed.run_id,
        attempt=parsed.attempt,
        instance_id=parsed.instance_id,
        instance_type=parsed.instance_type,
        market=parsed.market,
    )
    return identity, Folders(work=parsed.work_dir, logs=parsed.log_dir)
