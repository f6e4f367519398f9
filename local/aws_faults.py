"""AWS calls of the controller that fail on purpose: microburst between its Lambdas and the cloud. Runs in tests."""

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from typing import Any

from aiohttp import web
from microburst import cli, forward

from local.cloud import CloudError, LocalCloud, free_port
from local.deployment import REPOSITORY
from local.state_folder import CLOUD_MARKER

START_SECONDS = 30.0
API = "/_microburst"
# Carried out, and its answer lost: the connection is closed before the caller has heard anything.
ANSWER_LOST: dict[str, Any] = {"response": {"abort_bytes": 0}}
# Taken and never answered, nor passed on.
HANGING: dict[str, Any] = {"latency": 3_600_000}


class AwsFaults:
    """A proxy that stands in front of one embedded cloud.

    Parameters
    ----------
    port : int
        Where it listens; a free one when 0. Known before the cloud starts, since the cloud tells its Lambdas.
    """

    def __init__(self, port: int = 0) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, cloud: LocalCloud) -> None:
        """Start the proxy; it ends with the cloud, whose marker it carries. Raises CloudError when it does not start.

        microburst resolves operations from botocore's models, so its errors are the ones that boto3 understands.
        """
        upstream = cloud.credentials()["AWS_ENDPOINT_URL"]
        subprocess.Popen(  # noqa: S603 - a tool of the repository's own environment
            [sys.executable, "-m", "local.aws_faults", "--port", str(self.port), "--upstream", upstream, "--no-resign"],
            cwd=REPOSITORY,
            env={CLOUD_MARKER: cloud.folder.identity, "PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._await()

    def set(self, *rules: dict[str, Any]) -> None:
        """Replace what goes wrong: rules of microburst, the first that matches a call decides; none is all well."""
        self._call("POST", "rules", list(rules))
        self._call("DELETE", "fired")

    def fired(self) -> list[str]:
        """Return the operations that went wrong since `set`, in order."""
        return [event["operation"] for event in self._call("GET", "fired")]

    def counts(self) -> list[int]:
        """Return how often each rule decided a call since `set`, in their order."""
        return [int(rule["fired_count"]) for rule in self._call("GET", "rules")]

    def _await(self) -> None:
        gives_up_at = time.monotonic() + START_SECONDS
        while time.monotonic() < gives_up_at:
            with contextlib.suppress(OSError):
                self._call("GET", "health")
                return
            time.sleep(0.1)
        raise CloudError(f"microburst: expected an answer at {self.url}, found none. Is it installed (make setup)?")

    def _call(self, method: str, what: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}{API}/{what}", content, headers, method=method)  # noqa: S310
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own 127.0.0.1
            text = answer.read()
        return json.loads(text) if text else None


def lose_answers() -> None:
    """Let microburst lose whole answers: it begins to answer before it cuts, and has nothing to cut without a body."""
    stream: Any = forward._stream_to_client

    async def streamed(request: Any, status: int, headers: Any, fault: Any, chunks: Any) -> Any:
        if fault is None or fault.abort_bytes != 0:
            return await stream(request, status, headers, fault, chunks)
        async for _ in chunks:
            pass
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=status)

    forward._stream_to_client = streamed


def main() -> int:
    """Run microburst with answers that keep their length: without one the answer to HEAD says nothing of the size."""
    forward.HOP_BY_HOP = forward.HOP_BY_HOP - {"content-length"}
    lose_answers()
    return int(cli.main() or 0)


if __name__ == "__main__":
    sys.exit(main())
