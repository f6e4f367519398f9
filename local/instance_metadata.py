"""Instance metadata service, version 2, one server per instance. Runs inside the embedded cloud's server.

Follows https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html and
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
"""

import json
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - a header's name
LIFETIME_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
LONGEST_LIFETIME_SECONDS = 21600
Facts = Callable[[], dict[str, str]]


class InstanceMetadata:
    """Serves one instance's metadata on a free port of 127.0.0.1.

    Parameters
    ----------
    facts : callable
        Returns path below `/latest/` -> text, evaluated at each request, so tags and the spot notice are current.
    """

    def __init__(self, facts: Facts) -> None:
        self._tokens: dict[str, float] = {}
        self._facts = facts
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                _send(self, *service.issue(self.path, self.headers.get(LIFETIME_HEADER, "")))

            def do_GET(self) -> None:
                _send(self, *service.read(self.path, self.headers.get(TOKEN_HEADER, "")))

            def log_message(self, *_: Any) -> None:
                """Stay silent: the server's log is for the cloud, not for one instance's polling."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    @property
    def url(self) -> str:
        """Value for AWS_EC2_METADATA_SERVICE_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def issue(self, path: str, lifetime: str) -> tuple[int, str]:
        """Answer PUT /latest/api/token."""
        if path != "/latest/api/token":
            return 404, ""
        if not lifetime.isdigit() or not 1 <= int(lifetime) <= LONGEST_LIFETIME_SECONDS:
            return 400, f"{LIFETIME_HEADER}: expected 1 to {LONGEST_LIFETIME_SECONDS} seconds, found {lifetime!r}"
        token = secrets.token_urlsafe(40)
        self._tokens[token] = time.monotonic() + int(lifetime)
        return 200, token

    def read(self, path: str, token: str) -> tuple[int, str]:
        """Answer GET: 401 without a living token, the value, a listing of what is below a folder, or 404."""
        if self._tokens.get(token, 0.0) < time.monotonic():
            return 401, ""
        name = path.removeprefix("/latest/").rstrip("/")
        facts = self._facts()
        if name in facts:
            return 200, facts[name]
        below = {key.removeprefix(f"{name}/") for key in facts if key.startswith(f"{name}/")}
        listing = sorted({head + ("/" if rest else "") for head, _, rest in (key.partition("/") for key in below)})
        return (200, "\n".join(listing)) if listing else (404, "")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def facts_of(record: Any, tags: dict[str, str], account: str, region: str) -> dict[str, str]:
    """Return the metadata of an EC2 instance record: path below `/latest/` -> text.

    Parameters
    ----------
    record : dict
        MiniStack's instance record.
    tags : dict
        The instance's tags when the launch asked for them in the metadata, else empty.
    """
    zone = record["Placement"]["AvailabilityZone"]
    plain = {
        "ami-id": record["ImageId"],
        "instance-id": record["InstanceId"],
        "instance-type": record["InstanceType"],
        "instance-life-cycle": record.get("InstanceLifecycle", "on-demand"),
        "local-ipv4": record["PrivateIpAddress"],
        "public-ipv4": record["PublicIpAddress"],
        "placement/availability-zone": zone,
        "placement/region": region,
        **{f"tags/instance/{key}": value for key, value in tags.items()},
    }
    if profile := record.get("IamInstanceProfile"):
        info = {"Code": "Success", "InstanceProfileArn": profile.get("Arn"), "InstanceProfileId": profile.get("Id")}
        plain["iam/info"] = json.dumps(info)
    identity = {"accountId": account, "availabilityZone": zone, "region": region, "imageId": record["ImageId"]}
    identity |= {"instanceId": record["InstanceId"], "instanceType": record["InstanceType"]}
    document = {"dynamic/instance-identity/document": json.dumps(identity, indent=2)}
    return {f"meta-data/{key}": value for key, value in plain.items()} | document


def _send(handler: BaseHTTPRequestHandler, status: int, text: str) -> None:
    body = text.encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "text/plain")
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
