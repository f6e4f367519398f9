"""What `show` says of the price that an instance was counted with. Runs offline."""

import pytest

from cli import show
from contracts.layout import run_prefix
from lambdas.core.acceptance import checked_request
from lambdas.core.costs import actual_cost, breakdown
from lambdas.core.path import assumed
from lambdas.core.records import Attempt, RunRecord

START = 1795456860


def _record(market: str, quoted: float | None) -> RunRecord:
    attempt = Attempt(1, "i-1", "g4dn.2xlarge", market, "us-east-1a", START, START + 600, spot_usd_per_hour=quoted)
    record = RunRecord(
        run_id="20261123-180000", execution_arn="arn", prefix=run_prefix("20261123-180000"),
        request=checked_request({}), created_at=START, deadline_at=START + 7200, ended_at=START + 600,
        attempts=(attempt,),
    )  # fmt: skip
    path = assumed(record)
    return record.with_changes({"cost": breakdown(record, path, actual_cost(record, path, START + 600))})


@pytest.mark.parametrize(
    ("market", "quoted", "said"),
    [
        ("spot", 0.2834, "g4dn.2xlarge spot at 0.2834 USD/h (EC2 at its launch), 600 s"),
        ("spot", None, "g4dn.2xlarge spot at 0.4 USD/h (price list), 600 s"),
        ("on_demand", None, "g4dn.2xlarge on_demand at 0.752 USD/h (price list), 600 s"),
    ],
)
def test_show_says_the_price_of_each_instance_and_whose_it_is(market: str, quoted: float | None, said: str) -> None:
    assert f"  attempt 1: {said}" in show._cost(_record(market, quoted))


def test_a_run_of_an_earlier_version_has_no_price_to_show() -> None:
    record = _record("spot", None)
    earlier = {name: value for name, value in record.cost.items() if name != "instance_prices"}

    assert "attempt 1: g4dn.2xlarge spot, 600 s" in show._cost(record.with_changes({"cost": earlier}))
