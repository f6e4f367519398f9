"""What a run costs, against figures worked out by hand. Runs under pytest, offline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import schema
from contracts.prices import machine_cost, prices, request_cost, run_cost, usd_per_hour, vcpus

TYPES = schema("run_request")["properties"]["instance_types"]["items"]["enum"]
MARKETS = ("on_demand", "spot")


def test_an_hour_of_g4dn_2xlarge_costs_what_a_pocket_calculator_says():
    cost = run_cost("g4dn.2xlarge", "on_demand", seconds=3600, heartbeats=120, transitions=15)

    # 100 GiB at 0.08 a month of 730 hours; two PUTs with their events, a call of 0.025 GiB-seconds a heartbeat.
    assert cost.instance_usd == pytest.approx(0.752)
    assert cost.volume_usd == pytest.approx(8 / 730)
    assert cost.address_usd == pytest.approx(0.005)
    assert cost.requests_usd == pytest.approx(120 * (2 * 0.000006 + 0.0000002 + 0.025 * 0.0000133334))
    assert cost.transitions_usd == pytest.approx(15 * 0.000025)
    assert cost.rounded() == {
        "instance_usd": 0.752, "volume_usd": 0.011, "address_usd": 0.005, "requests_usd": 0.0015,
        "transitions_usd": 0.0004, "total_usd": 0.7698,
    }  # fmt: skip


def test_the_price_at_launch_goes_before_the_price_list():
    assert machine_cost("g4dn.2xlarge", "spot", 3600, instance_usd=0.31).instance_usd == pytest.approx(0.31)
    assert machine_cost("g4dn.2xlarge", "spot", 3600).instance_usd == pytest.approx(0.4)


def test_a_call_of_a_state_s_function_costs_its_request_and_its_time():
    cost = request_cost(reports=0, transitions=0, invocations=6, function_seconds=40)

    assert cost.total_usd == cost.requests_usd == pytest.approx(6 * 0.0000002 + 40 * 0.25 * 0.0000133334)


def test_an_hour_s_price_is_the_hour_s_cost_without_requests():
    cost = run_cost("g4dn.xlarge", "spot", seconds=3600, heartbeats=0, transitions=0)

    assert usd_per_hour("g4dn.xlarge", "spot") == pytest.approx(cost.total_usd)


def test_a_minute_is_billed_at_least():
    assert run_cost("g4dn.xlarge", "spot", 3, 0) == run_cost("g4dn.xlarge", "spot", 60, 0)


def test_what_never_ran_costs_only_its_transitions():
    assert run_cost("g4dn.xlarge", "on_demand", 0, 0, transitions=4).total_usd == pytest.approx(0.0001)


@pytest.mark.parametrize("instance_type", TYPES)
def test_every_type_that_a_request_may_name_has_prices_and_vcpus(instance_type):
    assert 0 < usd_per_hour(instance_type, "spot") < usd_per_hour(instance_type, "on_demand")
    assert vcpus(instance_type) in (4, 8, 16)


def test_the_price_list_is_dated_and_names_its_source():
    assert prices()["as_of"].startswith("202")
    assert prices()["source"].startswith("https://aws.amazon.com/")


@given(st.sampled_from(TYPES), st.sampled_from(MARKETS), st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_time_never_costs_less(instance_type, market, one, other):
    less, more = sorted((one, other))

    assert run_cost(instance_type, market, less, 0).total_usd <= run_cost(instance_type, market, more, 0).total_usd
