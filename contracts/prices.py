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
FUNCTION_GIB = 0.25
REPORT_FUNCTION_SECONDS = 0.1
WRITTEN_PER_REPORT = 2
# Before a run, and where its history cannot be read: ten states, one more round of cleanup, some retries.
ASSUMED_TRANSITIONS = 15


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
    transitions_usd: float

    @property
    def total_usd(self) -> float:
        """Sum of the parts."""
        return self.instance_usd + self.volume_usd + self.address_usd + self.requests_usd + self.transitions_usd

    def __add__(self, other: "Cost") -> "Cost":
        """Return the sum, part by part."""
        return Cost(**{name: value + getattr(other, name) for name, value in asdict(self).items()})

    def parts(self) -> dict[str, float]:
        """Return the parts and the total by their names."""
        return {**asdict(self), "total_usd": self.total_usd}

    def rounded(self) -> dict[str, float]:
        """Return the parts and the total, rounded to a hundredth of a cent."""
        return {name: round(value, 4) for name, value in self.parts().items()}


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


def run_cost(
    instance_type: str, market: str, seconds: float, heartbeats: int, transitions: int = ASSUMED_TRANSITIONS
) -> Cost:
    """Return the cost of an instance's billed `seconds`, and of the requests and state transitions around it."""
    return machine_cost(instance_type, market, seconds) + request_cost(heartbeats, transitions)


def machine_cost(instance_type: str, market: str, seconds: float, instance_usd: float | None = None) -> Cost:
    """Return the cost of an instance with its volume and address; `instance_usd` an hour goes before the price list.

    EC2 bills Linux by the second, a minute at least (https://aws.amazon.com/ec2/pricing/on-demand/).
    """
    hours = max(seconds, MINIMUM_BILLED_SECONDS) / SECONDS_PER_HOUR if seconds else 0.0
    an_hour = instance_usd_per_hour(instance_type, market) if instance_usd is None else instance_usd
    return Cost(
        instance_usd=hours * an_hour,
        volume_usd=hours * _volume_usd_per_hour(),
        address_usd=hours * prices()["public_ipv4_usd_per_hour"],
        requests_usd=0.0,
        transitions_usd=0.0,
    )


def request_cost(reports: int, transitions: int, invocations: int = 0, function_seconds: float = 0.0) -> Cost:
    """Return the cost of what a run asks of S3, EventBridge, Lambda and Step Functions.

    Parameters
    ----------
    reports : int
        Writings of system-state.json: each is an S3 PUT, an event of S3, which is one that EventBridge charges for
        (https://aws.amazon.com/eventbridge/pricing/), and a call of a function. At most one upload of the log's end
        goes with each (`instance/log_tail.py`): another PUT and another event, counted as if it always did.
    transitions : int
        States entered and retries: each retry is charged as another transition
        (https://aws.amazon.com/step-functions/pricing/).
    invocations, function_seconds
        Calls of the states' functions, and how long they took.
    """
    price = prices()
    calls, seconds = invocations + reports, function_seconds + reports * REPORT_FUNCTION_SECONDS
    of_functions = calls * price["lambda_request_usd"] + seconds * FUNCTION_GIB * price["lambda_arm_usd_per_gib_second"]
    written = WRITTEN_PER_REPORT * reports * (price["s3_put_usd"] + price["event_usd"])
    return Cost(0.0, 0.0, 0.0, written + of_functions, transitions * price["state_transition_usd"])


def _volume_usd_per_hour() -> float:
    return float(prices()["gp3_usd_per_gib_month"]) * ROOT_VOLUME_GIB / HOURS_PER_MONTH
