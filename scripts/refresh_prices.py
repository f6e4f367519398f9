"""Take the prices of a region from AWS into contracts/prices.json. Runs on a person's machine (make prices).

On-demand prices come from the AWS price list, what spot costs now from EC2.
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
"""

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import BotoCoreError, ClientError

PRICES = Path(__file__).resolve().parent.parent / "contracts" / "prices.json"
PRICE_LIST_REGION = "us-east-1"  # one of the few with an endpoint; it knows the prices of all
SOURCE = "AWS price list (pricing:GetProducts); spot: the dearest zone of ec2:DescribeSpotPriceHistory"


class PriceUnclear(RuntimeError):
    """AWS gives no price, or several, where one was expected."""


class Product(NamedTuple):
    """What is looked up: service, attributes to match, how its usage type ends (its start names the region)."""

    service: str
    attributes: dict[str, str]
    usage_end: str = ""

    def __str__(self) -> str:
        given = ", ".join(f"{name} {value}" for name, value in self.attributes.items())
        return f"{self.service} ({given}{', usage type ...' + self.usage_end if self.usage_end else ''})"


PRODUCTS = {
    "gp3_usd_per_gib_month": Product("AmazonEC2", {"productFamily": "Storage", "volumeApiName": "gp3"}),
    "public_ipv4_usd_per_hour": Product("AmazonVPC", {}, "PublicIPv4:InUseAddress"),
    "state_transition_usd": Product("AmazonStates", {}, "StateTransition"),
    "s3_put_usd": Product("AmazonS3", {"group": "S3-API-Tier1"}, "Requests-Tier1"),
    "lambda_request_usd": Product("AWSLambda", {"group": "AWS-Lambda-Requests-ARM"}),
    "lambda_arm_usd_per_gib_second": Product("AWSLambda", {"group": "AWS-Lambda-Duration-ARM"}),
}
# What the price list calls an event of S3 was never seen, and a wrong name would leave every price as it is.
KEPT = ("event_usd",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the prices of a region, or nothing when one of them is unclear; prints what changed."""
    parser = argparse.ArgumentParser(prog="python -m scripts.refresh_prices", description=__doc__)
    parser.add_argument("--region", help="default: the region of contracts/prices.json")
    old: dict[str, Any] = json.loads(PRICES.read_text())
    region = parser.parse_args(arguments).region or old["region"]
    try:
        new = refreshed(old, region, datetime.now(UTC))
    except (PriceUnclear, ClientError, BotoCoreError) as error:
        print(f"prices: {error}\ncontracts/prices.json is unchanged.", file=sys.stderr)
        return 1
    for line in changes(old, new):
        print(line)
    write(new, PRICES)
    print("Written: contracts/prices.json. Deploy to use it: cdk deploy. The tables of the docs follow: make docs")
    return 0


def refreshed(old: dict[str, Any], region: str, now: datetime) -> dict[str, Any]:
    """Return the price list with every price as AWS has it now, those of `KEPT` as they were.

    Parameters
    ----------
    old : dict
        The price list so far, whose instance types are kept.
    region : str
    now : datetime

    Raises
    ------
    PriceUnclear
        AWS lists no price of a product, or several.
    """
    pricing = boto3.client("pricing", region_name=PRICE_LIST_REGION)
    kinds = {
        kind: {
            "on_demand": listed_usd(pricing, _instance(kind), region),
            "spot": spot_usd(kind, region),
            "vcpus": known["vcpus"],
        }
        for kind, known in old["instance_usd_per_hour"].items()
    }
    rest = {name: listed_usd(pricing, product, region) for name, product in PRODUCTS.items()}
    rest |= {name: old[name] for name in KEPT}
    return {"as_of": f"{now:%Y-%m-%d}", "region": region, "source": SOURCE, "instance_usd_per_hour": kinds, **rest}


def listed_usd(pricing: Any, product: Product, region: str) -> float:
    """Return the price of a unit of a product, beyond any free tier and before any discount for volume."""
    wanted = {"regionCode": region, **product.attributes}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    pages = pricing.get_paginator("get_products").paginate(ServiceCode=product.service, Filters=filters)
    found = [json.loads(text) for page in pages for text in page["PriceList"]]
    usd = {
        _highest_usd(one) for one in found if one["product"]["attributes"]["usagetype"].endswith(product.usage_end)
    } - {0.0}
    if len(usd) != 1:
        listed = ", ".join(f"{price:g}" for price in sorted(usd)) or "none"
        raise PriceUnclear(f"{product}: expected one price in {region}, found {listed}. Check the region's name.")
    return usd.pop()


def spot_usd(instance_type: str, region: str) -> float:
    """Return what a spot instance costs an hour now, in the dearest zone of the region."""
    pages = boto3.client("ec2", region_name=region).get_paginator("describe_spot_price_history")
    found = pages.paginate(
        InstanceTypes=[instance_type], ProductDescriptions=["Linux/UNIX"], StartTime=datetime.now(UTC)
    )
    usd = [float(one["SpotPrice"]) for page in found for one in page["SpotPriceHistory"]]
    if not usd:
        raise PriceUnclear(f"spot {instance_type}: expected a price in {region}, found none.")
    return max(usd)


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return a line for each price: what it was and is."""
    before, after = _flat(old), _flat(new)
    return [f"  {name:<42} {before.get(name)} -> {after[name]}" for name in after if before.get(name) != after[name]]


def write(new: dict[str, Any], target: Path) -> None:
    """Replace the price list at once: whoever reads it sees the old one or the new one."""
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(new, indent=2) + "\n")
    partial.replace(target)


def _instance(kind: str) -> Product:
    return Product(
        "AmazonEC2",
        {
            "instanceType": kind,
            "operatingSystem": "Linux",
            "preInstalledSw": "NA",
            "tenancy": "Shared",
            "capacitystatus": "Used",
        },
    )


def _highest_usd(listed: dict[str, Any]) -> float:
    terms = listed.get("terms", {}).get("OnDemand", {}).values()
    return max(
        (float(tier["pricePerUnit"].get("USD", 0)) for term in terms for tier in term["priceDimensions"].values()),
        default=0.0,
    )


def _flat(prices: dict[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in prices.items():
        flat |= _flat(value, f"{before}{name} ") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


if __name__ == "__main__":
    sys.exit(main())
