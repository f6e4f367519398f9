"""`python -m local up|env|down|status`: the embedded cloud from the command line. Runs on a person's machine."""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

from local.cloud import CloudError, LocalCloud
from local.deployment import REPOSITORY, DeploymentFailed

DEFAULT_STATE = REPOSITORY / ".local" / "cloud"


def main() -> int:
    """Carry out one command; returns the exit code."""
    arguments = _parser().parse_args()
    cloud = LocalCloud(arguments.state)
    try:
        return int({"up": _up, "env": _env, "down": _down, "status": _status}[arguments.command](cloud))
    except (CloudError, DeploymentFailed, ValueError) as error:
        print(f"local {arguments.command}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="The embedded cloud on this computer.")
    parser.add_argument("command", choices=["up", "env", "down", "status"])
    default = Path(os.environ.get("CHRONOS_LOCAL") or DEFAULT_STATE)
    help_text = "state folder (default: CHRONOS_LOCAL, or .local/cloud); another folder is another cloud"
    parser.add_argument("--state", type=Path, default=default, help=help_text)
    return parser


def _up(cloud: LocalCloud) -> int:
    begun = time.monotonic()

    def progress(step: str) -> None:
        print(f"{time.monotonic() - begun:5.1f} s  {step}", flush=True)

    progress("starting the embedded cloud")
    cloud.start(detached=True)
    try:
        cloud.deploy(progress=progress)
    except (CloudError, DeploymentFailed, KeyboardInterrupt):
        cloud.stop()
        raise
    progress(f"ready at {cloud.credentials()['AWS_ENDPOINT_URL']}")
    print('\nPoint this shell at it:  eval "$(make -s local-env)"\nEnd it:                  make local-down')
    return 0


def _env(cloud: LocalCloud) -> int:
    for name, value in cloud.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _down(cloud: LocalCloud) -> int:
    was = len(cloud.left_over())
    cloud.stop()
    print(f"The embedded cloud is down, {was} processes ended." if was else "No embedded cloud was running.")
    return 0


def _status(cloud: LocalCloud) -> int:
    if not cloud.running:
        print("not running")
        return 1
    print(f"running at {cloud.credentials()['AWS_ENDPOINT_URL']}, {len(cloud.left_over())} processes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
