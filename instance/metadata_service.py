"""Asks the metadata service (IMDSv2) whether AWS wants the machine back. Runs in the supervisor."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field

ENDPOINT_VARIABLE = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
DEFAULT_ENDPOINT = "http://169.254.169.254"
SPOT_ACTION = "/latest/meta-data/spot/instance-action"
TOKEN = "/latest/api/token"  # noqa: S105 - a path
TOKEN_SECONDS = 21_600
TIMEOUT_SECONDS = 1.0
UNAUTHORIZED = 401


@dataclass
class MetadataService:
    """A client of one path of IMDSv2.

    Parameters
    ----------
    endpoint : str
        Base address, without a final slash.

    Notes
    -----
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html: the path answers 404
    until AWS interrupts, then {"action": "terminate", "time": ...} about two minutes ahead.
    """

    endpoint: str
    token: str | None = field(default=None, repr=False)

    def spot_interruption(self) -> str | None:
        """Return the time AWS takes the machine back, as AWS wrote it, or None; a silent service means None."""
        try:
            notice = json.loads(self._get(SPOT_ACTION))
        except (OSError, ValueError):
            return None
        return str(notice.get("time", "soon")) if isinstance(notice, dict) else None

    def _get(self, path: str) -> bytes:
        if self.token is None:
            header = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            self.token = _request(self.endpoint + TOKEN, "PUT", header).decode()
        try:
            return _request(self.endpoint + path, "GET", {"X-aws-ec2-metadata-token": self.token})
        except urllib.error.HTTPError as error:
            if error.code == UNAUTHORIZED:
                self.token = None
            raise


def metadata_service(environment: Mapping[str, str]) -> MetadataService:
    """Return the service at the address the AWS SDKs read, too."""
    return MetadataService((environment.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT).rstrip("/"))


def _request(url: str, method: str, headers: dict[str, str]) -> bytes:
    request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - address of the machine itself
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:  # noqa: S310
        body: bytes = response.read()
    return body
