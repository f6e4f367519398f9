"""The capacity ladder: in which order to ask EC2, and what its refusals mean. Runs in Lambda; pure."""

from dataclasses import dataclass
from typing import Literal

from contracts.documents import Document
from contracts.prices import instance_usd_per_hour
from contracts.reasons import CapacityUnavailable, LaunchRefused, PermissionMissing, QuotaTooLow, RunError
from lambdas.core import denials

Refusal = Literal["capacity", "quota", "unclear", "refused"]
NO_ANSWER = "NoAnswer"
TOO_DEAR = "AboveMaxUsdPerHour"  # our own answer: EC2 is not asked

# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
_CAPACITY = {
    "InsufficientInstanceCapacity",
    "InsufficientHostCapacity",
    "InsufficientReservedInstanceCapacity",
    "InsufficientCapacity",
    "InsufficientFreeAddressesInSubnet",
    "SpotMaxPriceTooLow",
    "Unsupported",
    "UnfulfillableCapacity",
    TOO_DEAR,
}
# These say nothing of capacity, and after most of them the instance may exist all the same.
_UNCLEAR = {
    NO_ANSWER,
    "InternalError",
    "InternalFailure",
    "ServiceUnavailable",
    "Unavailable",
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "500",
    "502",
    "503",
    "504",
}
_QUOTA = {"VcpuLimitExceeded", "InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "SpotInstanceCountExceeded"}

# No capacity that waiting could bring: the zone does not offer the type, or our own price list rules it out.
_LASTING = {"Unsupported", TOO_DEAR}

QUOTA_CODES = {"on_demand": "L-DB2E81BA", "spot": "L-3819A6DF"}


def on_demand_usd(instance_type: str) -> float:
    """Return the on-demand price of an hour of an instance, without volume and address."""
    return instance_usd_per_hour(instance_type, "on_demand")


@dataclass(frozen=True)
class Rung:
    """One thing to ask EC2 for, and the most an hour of the instance may cost, USD, None without a limit."""

    market: str
    instance_type: str
    subnet_id: str
    max_usd_per_hour: float | None = None

    @property
    def too_dear(self) -> bool:
        """Whether its price is known to be above the limit; of spot, EC2 judges that by the price of the moment."""
        limit = self.max_usd_per_hour
        return limit is not None and self.market == "on_demand" and on_demand_usd(self.instance_type) > limit

    def __str__(self) -> str:
        return f"{self.market} {self.instance_type} in {self.subnet_id}"


@dataclass(frozen=True)
class Answer:
    """What came of a rung: an instance's id or why there is none; asked at `at` (epoch seconds), for `seconds`.

    `message` is what EC2 says beside the code of a refusal.
    """

    rung: Rung
    said: str
    at: int
    seconds: float = 0.0
    message: str = ""


def markets(market: str, attempt: int) -> tuple[str, ...]:
    """Return the markets to try; after a lost attempt, `spot_then_on_demand` no longer bets on spot."""
    if market == "spot_then_on_demand":
        return ("spot", "on_demand") if attempt == 1 else ("on_demand",)
    return (market,)


def rungs(request: Document, subnet_ids: list[str], attempt: int) -> list[Rung]:
    """Return the rungs for `attempt`: by market, then instance type, then zone, as the request orders them."""
    return [
        # A run that was accepted before there was a limit has none.
        Rung(market, instance_type, subnet_id, request.get("max_usd_per_hour"))
        for market in markets(request["market"], attempt)
        for instance_type in request["instance_types"]
        for subnet_id in subnet_ids
    ]


def client_token(run_id: str, attempt: int, index: int) -> str:
    """Return the idempotency token of a rung: new for each rung, as its parameters differ (64 ASCII characters).

    `index` goes on growing from round to round, so the same rung of a later round is a new request to EC2.
    """
    return f"{run_id}-attempt{attempt}-rung{index}"[:64]


def round_from(index: int, count: int) -> range:
    """Return the indexes that are left of a round which is at `index`, when the ladder has `count` rungs."""
    return range(index, (index // count + 1) * count)


def meaning(error_code: str) -> Refusal:
    """Return whether the next rung may help: no capacity here, a quota, or a refusal that repeats everywhere.

    After an unclear answer only the same rung may be asked again, with its token: the next one could give a second
    instance.
    """
    if error_code in _CAPACITY:
        return "capacity"
    if error_code in _UNCLEAR:
        return "unclear"
    return "quota" if error_code in _QUOTA else "refused"


def may_change(log: list[Answer]) -> bool:
    """Return whether asking the ladder again later may give an instance: capacity was refused, and nothing for good."""
    kinds = {meaning(answer.said) for answer in log}
    lacking = [answer for answer in log if meaning(answer.said) == "capacity" and answer.said not in _LASTING]
    return "refused" not in kinds and bool(lacking)


def quota_command(market: str, wanted: int) -> str:
    """Return the command that asks AWS for a quota of `wanted` vCPUs."""
    return (
        "aws service-quotas request-service-quota-increase --service-code ec2 "
        f"--quota-code {QUOTA_CODES[market]} --desired-value {wanted}"
    )


def verdict(log: list[Answer], wanted_vcpus: int, waited: str = "") -> RunError:
    """Return the error after the last rung, naming each rung and EC2's answer, and how long was `waited` before."""
    tried = f"{waited}Tried " + "; ".join(f"{answer.rung}: {answer.said}" for answer in log)
    kinds = {meaning(answer.said) for answer in log}
    if kinds == {"quota"}:
        command = quota_command(log[-1].rung.market, wanted_vcpus)
        return QuotaTooLow(f"{tried}. Ask for more with: {command}")
    if denials.denied(log[-1].said):
        return PermissionMissing(f"{denials.told('RunInstances', log[-1].said, log[-1].message)} {tried}.")
    return LaunchRefused(f"{tried}.") if "refused" in kinds else CapacityUnavailable(f"{tried}.")
