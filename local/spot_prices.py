"""What spot instances cost, which MiniStack does not know. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSpotPriceHistory.html. In every zone that has
a subnet, every type has cost since the day of contracts/prices.json what is said there: no price ever changes.
"""

from ministack.services import ec2

from contracts.prices import prices
from local.launch_template import Answer, Parameters

PRODUCT = "Linux/UNIX"
REFUSED = ("Filter.1.Name", "NextToken", "AvailabilityZoneId")


def install() -> None:
    """Put the action in place."""
    ec2._ACTION_MAP["DescribeSpotPriceHistory"] = describe


def describe(parameters: Parameters) -> Answer:
    """Answer DescribeSpotPriceHistory: at most MaxResults prices, without further pages."""
    unknown = [name for name in REFUSED if ec2._p(parameters, name)]
    if unknown:
        message = f"expected InstanceType, ProductDescription, AvailabilityZone, times and MaxResults, found {unknown}"
        return ec2._error("InvalidParameterValue", message, 400)  # type: ignore[no-any-return]
    kinds, products = (ec2._parse_member_list(parameters, name) for name in ("InstanceType", "ProductDescription"))
    zone, most = ec2._p(parameters, "AvailabilityZone"), int(ec2._p(parameters, "MaxResults") or 1000)
    zones = sorted({subnet["AvailabilityZone"] for subnet in ec2._subnets.values()})
    items = [
        _item(kind, where, price["spot"])
        for kind, price in prices()["instance_usd_per_hour"].items()
        for where in zones
        if kind in (kinds or [kind]) and where == (zone or where) and PRODUCT in (products or [PRODUCT])
    ]
    inner = f"<spotPriceHistorySet>{''.join(items[:most])}</spotPriceHistorySet>"
    return ec2._xml(200, "DescribeSpotPriceHistoryResponse", inner)  # type: ignore[no-any-return]


def _item(kind: str, zone: str, usd: float) -> str:
    return (
        f"<item><instanceType>{kind}</instanceType><productDescription>{PRODUCT}</productDescription>"
        f"<spotPrice>{usd:.6f}</spotPrice><timestamp>{prices()['as_of']}T00:00:00.000Z</timestamp>"
        f"<availabilityZone>{zone}</availabilityZone></item>"
    )
