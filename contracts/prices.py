"""What a run costs. Prices come from prices.json, dated, and from nowhere else. Runs in Lambda and in the CLI."""

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

HOURS_PER_MONTH = 730
SECONDS_PER_HOUR = 3600
MINIMUM_BILLED_SECONDS = 60
ROOT_VOLUME_GIB = 100


@lru_cache
def prices() -> dict[str, Any]:
    """Return the price list (us-east-1, USD)."""
    data: dict[str, Any] = json.loads((Path(__file__).parent / "prices.json").read_text())
    return data


@dataclass(frozen=True)
class Cost:
    """Cost of a run in USD, by part."""

    instance_usd: float
    volume_usd: float
    address_usd: float
    requests_usd: float

    @property
    def total_usd(self) -> float:
        """Sum of the parts."""
        return self.instance_usd + self.volume_usd + self.address_usd + self.requests_usd

    def rounded(self) -> dict[str, float]:
        """Return the parts and the total, rounded to a hundredth of a cent."""
        parts = {name: round(value, 4) for name, value in asdict(self).items()}
        return {**parts, "total_usd": round(self.total_usd, 4)}


def usd_per_hour(instance_type: str, market: str) -> float:
    """Return the price of an hour of an instance (`on_demand` or `spot`) with its volume and address."""
    return (
        instance_usd_per_hour(instance_type, market)
        + _volume_usd_per_hour()
        + float(prices()["public_ipv4_usd_per_hour"])
    )


def instance_usd_per_hour(instance_type: str, market: str) -> float:
    """Return the price of an hour of an instance alone, as EC2 asks it."""
    return float(prices()["instance_usd_per_hour"][instance_type][market])


def vcpus(instance_type: str) -> int:
    """Return the vCPUs of an instance type, what G/VT quotas count."""
    return int(prices()["instance_usd_per_hour"][instance_type]["vcpus"])


def run_cost(instance_type: str, market: str, seconds: float, heartbeats: int, transitions: int = 15) -> Cost:
    """Return the cost of an instance's billed `seconds` and of the requests around it.

    EC2 bills Linux by the second, a minute at least (https://aws.amazon.com/ec2/pricing/on-demand/). A heartbeat is
    one S3 PUT, one Lambda request of about 0.1 s at 256 MiB.
    """
    price = prices()
    hours = max(seconds, MINIMUM_BILLED_SECONDS) / SECONDS_PER_HOUR if seconds else 0.0
    lambda_usd = price["lambda_request_usd"] + 0.1 * 0.25 * price["lambda_arm_usd_per_gib_second"]
    return Cost(
        instance_usd=hours * instance_usd_per_hour(instance_type, market),
        volume_usd=hours * _volume_usd_per_hour(),
        address_usd=hours * price["public_ipv4_usd_per_hour"],
        requests_usd=transitions * price["state_transition_usd"] + heartbeats * (price["s3_put_usd"] + lambda_usd),
    )


def _volume_usd_per_hour() -> float:
    return float(prices()["gp3_usd_per_gib_month"]) * ROOT_VOLUME_GIB / HOURS_PER_MONTH
