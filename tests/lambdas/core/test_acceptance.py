"""What a request means before money is spent. Runs under pytest, offline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.prices import run_cost
from contracts.reasons import CostCapTooLow, MonthlyBudgetExceeded, QuotaTooLow, RequestInvalid
from lambdas.core.acceptance import (
    Stored,
    check_budget,
    check_cost,
    check_quota,
    checked_request,
    deadline_at,
    estimate,
    folder,
    iso,
    manifest,
    newest_dataset,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=15), inner, max_size=4),
    max_leaves=10,
)
FIELDS = sorted(checked_request({}))


@given(json_values | st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=3))
def test_any_request_is_accepted_or_refused_as_invalid_and_nothing_else(document):
    try:
        request = checked_request(document)
    except RequestInvalid as error:
        refused = error.message
    else:
        refused = ""
        assert checked_request(request) == request
        assert estimate(request).total_usd > 0

    assert not refused or ("expected" in refused and "found" in refused)


def test_quantiles_out_of_order_are_refused(event):
    with pytest.raises(RequestInvalid, match=r"quantile_levels: expected ascending numbers, found \[0.9, 0.1\]"):
        checked_request(event("request_invalid_quantile_order"))


def test_the_estimate_is_the_dearest_allowed_instance_for_all_of_its_time():
    request = checked_request({
        "instance_types": ["g4dn.xlarge", "g4dn.4xlarge"], "market": "spot_then_on_demand", "max_runtime_minutes": 60,
    })  # fmt: skip

    assert estimate(request) == run_cost("g4dn.4xlarge", "on_demand", 3600, heartbeats=120)


def test_a_price_limit_leaves_dearer_choices_out_of_the_estimate():
    kinds = ["g4dn.xlarge", "g4dn.4xlarge"]
    request = checked_request({"instance_types": kinds, "max_usd_per_hour": 0.6, "max_runtime_minutes": 60})

    assert estimate(request) == run_cost("g4dn.xlarge", "on_demand", 3600, heartbeats=120)


@pytest.mark.parametrize("market", ["on_demand", "spot_then_on_demand"])
def test_a_price_limit_below_every_choice_is_refused_with_the_least_that_works(market):
    given = {"market": market, "instance_types": ["g4dn.2xlarge", "g4dn.4xlarge"], "max_usd_per_hour": 0.5}
    with pytest.raises(RequestInvalid, match=r"max_usd_per_hour: expected at least 0\.752 for .*, found 0\.5\."):
        checked_request(given)
    assert checked_request({**given, "market": "spot"})["max_usd_per_hour"] == 0.5


def test_a_wait_for_capacity_leaves_time_for_the_run():
    with pytest.raises(RequestInvalid, match=r"capacity_wait_minutes: expected less than max_runtime_minutes, .* 120"):
        checked_request({"capacity_wait_minutes": 120})

    assert checked_request({})["capacity_wait_minutes"] == 0
    assert checked_request({"capacity_wait_minutes": 120, "max_runtime_minutes": 200})["capacity_wait_minutes"] == 120


def test_a_run_that_may_cost_more_than_its_cap_is_refused_with_both_figures():
    request = checked_request({"max_cost_usd": 1})

    with pytest.raises(CostCapTooLow, match=r"max_cost_usd: expected at least 1\.54 .* 120 .*g4dn.2xlarge, found 1\."):
        check_cost(request, estimate(request))


def test_a_run_beyond_the_month_s_budget_is_refused():
    request = checked_request({})
    total = estimate(request).total_usd

    check_budget(total, 50 - total, 50)
    with pytest.raises(MonthlyBudgetExceeded, match=r"49\.00 USD spent or reserved; this run may cost 1\.54"):
        check_budget(total, 49, 50)


@pytest.mark.parametrize(
    ("market", "quotas"),
    [
        ("on_demand", {"on_demand": 8.0}),
        ("on_demand", {"on_demand": None}),
        ("spot_then_on_demand", {"spot": 0.0, "on_demand": 8.0}),
        ("spot_then_on_demand", {"spot": 8.0, "on_demand": 0.0}),
    ],
)
def test_a_quota_that_suffices_in_one_allowed_market_or_cannot_be_read_admits(market, quotas):
    check_quota(checked_request({"market": market}), quotas)


def test_a_new_account_s_quota_of_zero_is_refused_with_the_command():
    with pytest.raises(QuotaTooLow, match=r"at least 8 .* found on_demand 0\. Run: aws service-quotas .*L-DB2E81BA"):
        check_quota(checked_request({}), {"on_demand": 0.0})


def test_the_smallest_allowed_type_decides_about_the_quota():
    check_quota(checked_request({"instance_types": ["g4dn.2xlarge", "g4dn.xlarge"]}), {"on_demand": 4.0})


def test_the_newest_data_set_is_the_one_with_the_newest_data_file():
    stored = [
        Stored("datasets/old/a.csv", 10, "e", 100.0),
        Stored("datasets/new/a.parquet", 10, "e", 200.0),
        Stored("datasets/notes/readme.md", 10, "e", 300.0),
        Stored("datasets/empty/a.csv", 0, "e", 400.0),
        Stored("datasets/loose.csv", 10, "e", 500.0),
    ]

    assert newest_dataset(stored) == "new"
    assert newest_dataset(stored[2:]) is None


def test_the_manifest_holds_request_files_and_deadline():
    request = checked_request({"dataset": "stocks"})
    files = folder(
        "stocks",
        "datasets/stocks/",
        [Stored("datasets/stocks/b.csv", 2, "e2", 0), Stored("datasets/stocks/a.csv", 1, "e1", 0)],
    )

    document = manifest("20261123-180000", "bucket", request, 1795456800, files, None)

    assert document["prefix"] == "phase1/2026/11/23-180000/"
    assert (document["created_at"], document["deadline_at"]) == ("2026-11-23T18:00:00Z", "2026-11-23T20:00:00Z")
    assert [o["key"] for o in document["dataset"]["objects"]] == ["datasets/stocks/a.csv", "datasets/stocks/b.csv"]
    assert document["usd_per_hour"]["g4dn.2xlarge"]["on_demand"] == pytest.approx(0.768, abs=0.001)


@given(st.floats(0.5, 1440))
def test_the_deadline_is_the_runtime_after_the_start(minutes):
    assert deadline_at(checked_request({"max_runtime_minutes": minutes}), 100) == 100 + round(minutes * 60)


def test_moments_are_written_in_utc():
    assert iso(1795456800.9) == "2026-11-23T18:00:00Z"


def test_an_ensemble_needs_models_to_weigh(event):
    with pytest.raises(RequestInvalid, match="at least 2 models for Ensemble to weigh, found AutoETS"):
        checked_request(event("request_invalid_ensemble"))
    assert checked_request({"models": ["AutoETS", "SeasonalNaive", "Ensemble"]})


def test_a_column_is_a_covariate_of_one_kind(event):
    with pytest.raises(RequestInvalid, match=r"past_covariates: .* found holiday; known_covariates names it, too"):
        checked_request(event("request_invalid_covariates"))
    with pytest.raises(RequestInvalid, match=r"known_covariates: .* found y; it is a column of the format"):
        checked_request({"known_covariates": ["y"]})
