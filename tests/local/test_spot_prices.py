"""DescribeSpotPriceHistory: what the launch asks once it has a spot instance."""

from datetime import UTC, datetime

import pytest
from botocore.exceptions import ClientError

from contracts.prices import instance_usd_per_hour
from tests.local.bench import Bench

pytestmark = pytest.mark.emulator


def test_a_spot_instance_costs_what_the_price_list_says_in_the_zones_of_subnets(bench: Bench) -> None:
    ec2 = bench.client("ec2")
    zones = {subnet["AvailabilityZone"] for subnet in ec2.describe_subnets()["Subnets"]}
    now = datetime.now(UTC)
    asked = {"InstanceTypes": ["g4dn.2xlarge", "p5.48xlarge"], "ProductDescriptions": ["Linux/UNIX"], "StartTime": now}

    everywhere = ec2.describe_spot_price_history(**asked)["SpotPriceHistory"]
    here = ec2.describe_spot_price_history(**asked, AvailabilityZone=min(zones), MaxResults=10)["SpotPriceHistory"]

    assert {(one["InstanceType"], one["AvailabilityZone"]) for one in everywhere} == {
        ("g4dn.2xlarge", zone) for zone in zones
    }
    ((zone, usd, since),) = {(one["AvailabilityZone"], one["SpotPrice"], one["Timestamp"]) for one in here}
    assert (zone, float(usd)) == (min(zones), instance_usd_per_hour("g4dn.2xlarge", "spot"))
    assert since < now
    assert ec2.describe_spot_price_history(ProductDescriptions=["Windows"])["SpotPriceHistory"] == []
    assert len(ec2.describe_spot_price_history(MaxResults=5)["SpotPriceHistory"]) == 5
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        ec2.describe_spot_price_history(Filters=[{"Name": "instance-type", "Values": ["g4dn.2xlarge"]}])


def test_ministack_still_knows_no_spot_price(plain: Bench) -> None:
    with pytest.raises(ClientError, match="Unknown EC2 action"):
        plain.client("ec2").describe_spot_price_history(InstanceTypes=["g4dn.2xlarge"])
