"""The capacity ladder: order, tokens, and what EC2's refusals mean. Runs under pytest, offline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.reasons import CapacityUnavailable, LaunchRefused, PermissionMissing, QuotaTooLow
from lambdas.core.acceptance import checked_request
from lambdas.core.ladder import Answer, Rung, client_token, meaning, rungs, verdict

SUBNETS = ["subnet-a", "subnet-b"]


def test_the_ladder_goes_by_market_then_type_then_zone():
    request = checked_request({"market": "spot_then_on_demand", "instance_types": ["g4dn.2xlarge", "g4dn.xlarge"]})

    first = [str(rung) for rung in rungs(request, SUBNETS, 1)]

    assert first[:3] == [
        "spot g4dn.2xlarge in subnet-a", "spot g4dn.2xlarge in subnet-b", "spot g4dn.xlarge in subnet-a",
    ]  # fmt: skip
    assert first[4] == "on_demand g4dn.2xlarge in subnet-a"
    assert len(first) == 8


def test_after_a_lost_attempt_spot_then_on_demand_no_longer_bets_on_spot():
    request = checked_request({"market": "spot_then_on_demand"})

    assert {rung.market for rung in rungs(request, SUBNETS, 2)} == {"on_demand"}


@pytest.mark.parametrize("market", ["spot", "on_demand"])
def test_one_market_stays_the_market(market):
    assert {rung.market for rung in rungs(checked_request({"market": market}), SUBNETS, 2)} == {market}


@given(st.integers(1, 5), st.integers(0, 99), st.integers(1, 5), st.integers(0, 99))
def test_client_tokens_differ_by_attempt_and_rung_and_fit_ec2(attempt, index, other_attempt, other_index):
    one, other = (
        client_token("20261123-180000-999", a, i) for a, i in ((attempt, index), (other_attempt, other_index))
    )

    assert (one == other) == ((attempt, index) == (other_attempt, other_index))
    assert len(one) <= 64
    assert one.isascii()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("InsufficientInstanceCapacity", "capacity"),
        ("VcpuLimitExceeded", "quota"),
        ("UnauthorizedOperation", "refused"),
    ],
)
def test_a_refusal_is_read_as_capacity_quota_or_final(code, expected):
    assert meaning(code) == expected


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (["InsufficientInstanceCapacity", "Unsupported"], CapacityUnavailable),
        (["InsufficientInstanceCapacity", "VcpuLimitExceeded"], CapacityUnavailable),
        (["VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"], QuotaTooLow),
        (["InsufficientInstanceCapacity", "InvalidLaunchTemplateId.NotFound"], LaunchRefused),
        (["InsufficientInstanceCapacity", "UnauthorizedOperation"], PermissionMissing),
    ],
)
def test_the_verdict_names_every_rung_and_ec2_s_answer(codes, kind):
    log = [Answer(Rung("spot", "g4dn.2xlarge", f"subnet-{n}"), code, at=0) for n, code in enumerate(codes)]

    error = verdict(log, 8)

    assert type(error) is kind
    for n, code in enumerate(codes):
        assert f"spot g4dn.2xlarge in subnet-{n}: {code}" in error.message


def test_a_quota_verdict_gives_the_command_to_ask_for_more():
    error = verdict([Answer(Rung("spot", "g4dn.2xlarge", "subnet-a"), "MaxSpotInstanceCountExceeded", at=0)], 8)

    assert (
        "request-service-quota-increase --service-code ec2 --quota-code L-3819A6DF --desired-value 8" in error.message
    )


def test_a_price_limit_rules_out_dear_rungs_on_demand_and_leaves_spot_to_ec2():
    kinds = ["g4dn.2xlarge", "g4dn.4xlarge"]
    asked = {"market": "spot_then_on_demand", "instance_types": kinds, "max_usd_per_hour": 0.8}

    ladder = rungs(checked_request(asked), ["subnet-a"], 1)

    assert [str(rung) for rung in ladder if rung.too_dear] == ["on_demand g4dn.4xlarge in subnet-a"]
    assert len(ladder) == 4
    assert {rung.max_usd_per_hour for rung in ladder} == {0.8}
    assert not any(rung.too_dear for rung in rungs(checked_request({**asked, "max_usd_per_hour": None}), ["a"], 1))
