"""The supervisor's entry: reads the command line, wires the parts, supervises. Runs on the instance."""

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from instance.identity import Folders, Identity, parse_arguments
from instance.metadata_service import metadata_service
from instance.objects import s3_client
from instance.plain_log import log_to_stderr
from instance.state_report import StateReport, utc_now
from instance.supervisor import Supervisor

STATE_READ_TIMEOUT_SECONDS = 10


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Supervise one attempt; return 0 when its end is on S3, whatever the end was."""
    log_to_stderr()
    # How boto3 found its credentials is no part of the story of a run.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    identity, folders = parse_arguments(arguments)
    folders.state.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(
        identity=identity,
        folders=folders,
        client=s3_client(),
        state=_state_report(identity, folders),
        metadata=metadata_service(environment),
        environment=environment,
    )
    supervisor.stop_on_signal()
    return 0 if supervisor.run() else 1


def _state_report(identity: Identity, folders: Folders) -> StateReport:
    # A client of its own, quick to give up: a heartbeat that hangs is worth less than the next one.
    client = s3_client(read_timeout_seconds=STATE_READ_TIMEOUT_SECONDS)

    def put(key: str, body: bytes) -> None:
        client.put_object(Bucket=identity.bucket, Key=key, Body=body, ContentType="application/json")

    return StateReport(identity, put, folders.state, _started_at(folders.state / "started_at"))


def _started_at(path: Path) -> str:
    """Return when the bootstrap began, or now if its file holds no time, as on a full disk."""
    try:
        text = path.read_text().strip()
        return text if datetime.fromisoformat(text).tzinfo else utc_now()
    except (OSError, ValueError):
        return utc_now()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
