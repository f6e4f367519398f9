"""Prices taken from AWS: documents in the price list's form, since no emulator has one. Runs with pytest."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from contracts.prices import prices
from scripts import refresh_prices
from scripts.refresh_prices import PRODUCTS, PriceUnclear, Product, listed_usd, refreshed

NOW = datetime(2026, 12, 1, tzinfo=UTC)
ON_DEMAND = 0.9
# Keys, nesting and texts as numbers as in the answer's description:
# https://docs.aws.amazon.com/aws-cost-management/latest/APIReference/API_pricing_GetProducts.html
Listed = dict[str, Any]


def listed(usage: str, *tiers: float, currency: str = "USD") -> Listed:
    dimensions = {f"rate{i}": {"pricePerUnit": {currency: f"{usd:.10f}"}} for i, usd in enumerate(tiers)}
    return {
        "product": {"attributes": {"usagetype": usage}},
        "terms": {"OnDemand": {"offer": {"priceDimensions": dimensions}}},
    }


class PriceList:
    """Answers GetProducts page by page, one product a page."""

    def __init__(self, find: Callable[[str, dict[str, str]], list[Listed]]) -> None:
        self.find = find

    def get_paginator(self, operation: str) -> "PriceList":
        assert operation == "get_products"
        return self

    def paginate(self, ServiceCode: str, Filters: list[dict[str, str]]) -> list[Any]:  # noqa: N803 - boto3's names
        wanted = {one["Field"]: one["Value"] for one in Filters}
        return [{"PriceList": [json.dumps(one)]} for one in self.find(ServiceCode, wanted)]


class SpotPrices:
    """Answers DescribeSpotPriceHistory for two zones."""

    def get_paginator(self, _operation: str) -> "SpotPrices":
        return self

    def paginate(self, **asked: Any) -> list[Any]:
        assert asked["ProductDescriptions"] == ["Linux/UNIX"]
        return [{"SpotPriceHistory": [{"SpotPrice": "0.31"}]}, {"SpotPriceHistory": [{"SpotPrice": "0.350000"}]}]


def region_prices(service: str, wanted: dict[str, str]) -> list[Listed]:
    """A region where everything has a price, with other products of the same services around it."""
    assert wanted["regionCode"] == "eu-west-1"
    if "instanceType" in wanted:
        return [listed(f"EU-BoxUsage:{wanted['instanceType']}", ON_DEMAND)]
    return {
        "AmazonEC2": [listed("EU-EBS:VolumeUsage.gp3", 0.088)],
        "AmazonVPC": [listed("EU-PublicIPv4:InUseAddress", 0.006), listed("EU-PublicIPv4:IdleAddress", 0.007)],
        "AmazonStates": [listed("EU-StateTransition", 0.0, 0.000028), listed("EU-StepFunctions-Request", 1.0)],
        "AmazonS3": [listed("EU-Requests-Tier1", 0.0000055)],
        "AWSLambda": {
            "AWS-Lambda-Requests-ARM": [listed("EU-Lambda-Requests-ARM", 0.0000002)],
            "AWS-Lambda-Duration-ARM": [listed("EU-Lambda-GB-Second-ARM", 0.0000133, 0.00001)],
        }.get(wanted.get("group", ""), []),
    }[service]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "prices.json"
    file.write_text(json.dumps(prices()))
    monkeypatch.setattr(refresh_prices, "PRICES", file)
    answers = {"pricing": PriceList(region_prices), "ec2": SpotPrices()}
    monkeypatch.setattr(refresh_prices.boto3, "client", lambda service, **_: answers[service])
    return file


def test_every_price_is_taken_and_the_form_is_kept(aws: Path) -> None:
    new = refreshed(prices(), "eu-west-1", NOW)
    assert set(new) == set(prices())
    assert new["as_of"] == "2026-12-01"
    assert new["instance_usd_per_hour"]["g4dn.2xlarge"] == {"on_demand": ON_DEMAND, "spot": 0.35, "vcpus": 8}
    assert {name: new[name] for name in PRODUCTS} == {
        "gp3_usd_per_gib_month": 0.088,
        "public_ipv4_usd_per_hour": 0.006,
        "state_transition_usd": 0.000028,
        "s3_put_usd": 0.0000055,
        "lambda_request_usd": 0.0000002,
        "lambda_arm_usd_per_gib_second": 0.0000133,
    }


def test_the_command_writes_the_file_and_says_what_changed(aws: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refresh_prices.main(["--region", "eu-west-1"]) == 0
    assert json.loads(aws.read_text())["region"] == "eu-west-1"
    assert "instance_usd_per_hour g4dn.2xlarge on_demand 0.752 -> 0.9" in " ".join(capsys.readouterr().out.split())
    assert [file.name for file in aws.parent.iterdir()] == [aws.name]


@pytest.mark.parametrize("found", [[], [1.0, 2.0], [0.0]])
def test_no_price_or_several_are_refused(found: list[float]) -> None:
    pricing = PriceList(lambda *_: [listed("X-Thing", usd) for usd in found])
    with pytest.raises(
        PriceUnclear, match=r"Service \(group G, usage type ...Thing\): expected one price in eu-west-1"
    ):
        listed_usd(pricing, Product("Service", {"group": "G"}, "Thing"), "eu-west-1")


def test_a_refused_call_leaves_the_file_as_it_was(
    aws: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = aws.read_text()

    def refuse(*_: Any) -> list[Listed]:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not yours"}}, "GetProducts")

    monkeypatch.setattr(refresh_prices.boto3, "client", lambda *_, **__: PriceList(refuse))
    assert refresh_prices.main([]) == 1
    assert "AccessDeniedException" in capsys.readouterr().err
    assert aws.read_text() == before
