"""Which instance types are offered where, which MiniStack lacks. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypeOfferings.html. Every type with a
price is offered in every zone that has a subnet.
"""

from ministack.services import ec2

from contracts.prices import prices
from local.launch_template import Answer, Parameters

ZONE = "availability-zone"
FILTERS = frozenset({"instance-type", "location"})


def install() -> None:
    """Put the action in place."""
    ec2._ACTION_MAP["DescribeInstanceTypeOfferings"] = describe


def describe(parameters: Parameters) -> Answer:
    """Answer DescribeInstanceTypeOfferings by zone."""
    where = str(ec2._p(parameters, "LocationType") or "region")
    filters = ec2._parse_filters(parameters)
    unknown = sorted(set(filters) - FILTERS)
    if where != ZONE or unknown:
        message = f"expected location type {ZONE} and filters {sorted(FILTERS)}, found {where}, {unknown}"
        return ec2._error("InvalidParameterValue", message, 400)  # type: ignore[no-any-return]
    zones = sorted({subnet["AvailabilityZone"] for subnet in ec2._subnets.values()})
    items = "".join(
        f"<item><instanceType>{kind}</instanceType><location>{zone}</location><locationType>{ZONE}</locationType></item>"
        for kind in prices()["instance_usd_per_hour"]
        for zone in zones
        if _passes(kind, filters.get("instance-type")) and _passes(zone, filters.get("location"))
    )
    inner = f"<instanceTypeOfferingSet>{items}</instanceTypeOfferingSet>"
    return ec2._xml(200, "DescribeInstanceTypeOfferingsResponse", inner)  # type: ignore[no-any-return]


def _passes(value: str, patterns: list[str] | None) -> bool:
    return patterns is None or any(ec2._glob_match(pattern, value) for pattern in patterns)
