"""Service Quotas for the EC2 quotas of GPU instances, which MiniStack lacks. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html. `quotas.json` in the
state folder maps a quota code to vCPUs; a new AWS account often has 0 for these.
"""

import json
from pathlib import Path
from typing import Any

from ministack import app
from ministack.core import responses

from local.state_folder import read_json

DEFAULT_VCPUS = 64.0
NAMES = {
    "L-DB2E81BA": "Running On-Demand G and VT instances",
    "L-3819A6DF": "All G and VT Spot Instance Requests",
}
Answer = tuple[int, dict[str, str], bytes]


class ServiceQuotas:
    """Answers GetServiceQuota, ListServiceQuotas and GetAWSDefaultServiceQuota.

    Parameters
    ----------
    path : Path
        `quotas.json`, read at each request.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def install(self) -> None:
        """Make MiniStack answer for the service."""
        app.SERVICE_HANDLERS["servicequotas"] = self.handle

    async def handle(self, _method: str, _path: str, headers: dict[str, str], body: bytes, _query: Any) -> Answer:
        """Answer one request of the JSON protocol."""
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        request = json.loads(body or b"{}")
        if action == "ListServiceQuotas":
            codes = NAMES if request.get("ServiceCode") == "ec2" else ()
            return _json(200, {"Quotas": [self.quota(code) for code in codes]})
        if action not in ("GetServiceQuota", "GetAWSDefaultServiceQuota"):
            return _error("UnknownOperationException", f"{action}: not available in the embedded cloud")
        code = request.get("QuotaCode", "")
        if request.get("ServiceCode") != "ec2" or code not in NAMES:
            return _error("NoSuchResourceException", f"The request failed because the quota {code} does not exist.")
        return _json(200, {"Quota": self.quota(code)})

    def quota(self, code: str) -> dict[str, Any]:
        """Return one quota in the API's shape."""
        region, account = responses.get_region(), responses.get_account_id()
        return {
            "ServiceCode": "ec2",
            "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
            "QuotaArn": f"arn:aws:servicequotas:{region}:{account}:ec2/{code}",
            "QuotaCode": code,
            "QuotaName": NAMES[code],
            "Value": float(read_json(self._path).get(code, DEFAULT_VCPUS)),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }


def _json(status: int, content: dict[str, Any]) -> Answer:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(content).encode()


def _error(code: str, message: str) -> Answer:
    return _json(400, {"__type": code, "Message": message})
