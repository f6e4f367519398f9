"""Records of runs and what is derived from them: items, costs, the registry's read model. Offline."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.prices import machine_cost, request_cost
from lambdas.core.budget import from_records
from lambdas.core.costs import actual_cost, breakdown
from lambdas.core.path import Path
from lambdas.core.records import Attempt, from_item
from lambdas.core.registry import best_metrics, read_model

NOW = 1795456800 + 600
ATTEMPT = Attempt(1, "i-1", "g4dn.2xlarge", "spot", "us-east-1a", launched_at=NOW - 600, ended_at=NOW - 300)


@given(
    st.floats(0, 1000).map(lambda value: round(value, 6)),
    st.lists(
        st.builds(
            Attempt,
            st.integers(1, 5),
            st.text(),
            st.text(),
            st.text(),
            st.text(),
            st.integers(0, 9),
            spot_usd_per_hour=st.none() | st.floats(0.001, 99),
        )
    ),
    st.text(max_size=30),
    st.dictionaries(st.text(max_size=5), st.dictionaries(st.text(max_size=5), st.none() | st.floats(0, 9)), max_size=3),
)
def test_a_record_survives_the_table(make_record, cost, attempts, cause, metrics):
    record = make_record(cost_usd=cost, attempts=tuple(attempts), cause=cause, metrics=metrics, rungs=("a", "b"))
    item = {name: Decimal(value) if isinstance(value, int) else value for name, value in record.to_item().items()}

    assert from_item({**item, "attribute_of_a_later_version": "x"}) == record


def test_an_attempt_of_an_earlier_version_has_no_price_of_its_own(make_record):
    item = make_record(attempts=(ATTEMPT,)).to_item()
    item["attempts"] = item["attempts"].replace(', "spot_usd_per_hour": null', "")

    assert "spot_usd_per_hour" not in item["attempts"]
    assert from_item(item).attempts == (ATTEMPT,)


def test_a_record_s_item_has_its_keys_and_no_float(make_record):
    item = make_record(cost_usd=0.1).to_item()

    assert (item["id"], item["kind"], item["run_id"]) == ("20261123-180000", "run", "20261123-180000")
    assert not any(isinstance(value, float) for value in item.values())


def test_the_task_token_is_not_in_the_record_s_text(make_record):
    assert "secret-token" not in repr(make_record(task_token="secret-token"))


def test_the_execution_s_name_is_the_last_part_of_its_arn(make_record):
    assert make_record().execution_name == "run-1"


def test_the_actual_cost_is_that_of_all_attempts_their_reports_and_the_execution_s_path(make_record):
    living = replace(ATTEMPT, attempt=2, market="on_demand", launched_at=NOW - 120, ended_at=0)
    record = make_record(attempts=(ATTEMPT, living), earlier_reports=10, seq=4)
    path = Path(transitions=17, tasks=9, function_seconds=40)

    cost = actual_cost(record, path, NOW)

    machines = machine_cost("g4dn.2xlarge", "spot", 300) + machine_cost("g4dn.2xlarge", "on_demand", 120)
    assert cost.total_usd == pytest.approx((machines + request_cost(14, 17, 9, 40)).total_usd)
    assert cost.transitions_usd == pytest.approx(17 * 0.000025)


def test_a_price_of_the_launch_goes_before_the_price_list_and_the_breakdown_says_which_it_was(make_record):
    quoted = replace(ATTEMPT, instance_id="i-2", spot_usd_per_hour=0.2834)
    record, path = make_record(attempts=(ATTEMPT, quoted)), Path(12, 6, 20.0, True)

    cost = actual_cost(record, path, NOW)

    assert cost.instance_usd == pytest.approx((0.40 + 0.2834) * 300 / 3600)
    assert breakdown(record, path, cost)["instance_prices"] == [
        {"instance_id": "i-1", "usd_per_hour": 0.40, "price_from": "price_list"},
        {"instance_id": "i-2", "usd_per_hour": 0.2834, "price_from": "launch"},
    ]


@pytest.mark.parametrize(("counted", "source"), [(True, "history"), (False, "assumed")])
def test_the_breakdown_adds_up_and_says_which_figure_was_counted(make_record, counted, source):
    record, path = make_record(attempts=(ATTEMPT,), seq=6), Path(12, 6, 20.0, counted)

    told = breakdown(record, path, actual_cost(record, path, NOW))

    parts = ("instance_usd", "volume_usd", "address_usd", "requests_usd", "transitions_usd")
    assert sum(told[part] for part in parts) == pytest.approx(told["total_usd"], abs=5e-6)
    assert (told["transitions"], told["transitions_from"], told["reports"], told["function_calls"]) == (
        12,
        source,
        6,
        12,
    )


def test_the_month_counts_what_ended_runs_cost_and_what_others_may_cost(make_record):
    ended = make_record(ended_at=NOW, cost_usd=0.2)
    month = from_records("202611", [ended, make_record(run_id="20261123-190000")])

    assert month.committed_usd == pytest.approx(0.2 + 1.5)
    assert month.reserved_usd == {"20261123-190000": 1.5}


def test_the_registry_lists_the_newest_run_first_and_counts_only_ended_ones(make_record):
    best = {"mae": 2.0, "sharpe_ratio": 0.4}
    records = [
        make_record(run_id="20261123-180000", status="completed", ended_at=NOW, metrics={"AutoETS": best}),
        make_record(run_id="20261123-190000", status="failed", reason_code="NoProgress", ended_at=NOW),
        make_record(run_id="20261123-200000"),
    ]  # fmt: skip

    model = read_model(records, "bucket", NOW)

    assert [run["run_id"] for run in model["runs"]] == ["20261123-200000", "20261123-190000", "20261123-180000"]
    assert model["system_stats"] == {
        "total_runs": 3, "successful_runs": 1, "failed_runs": 1, "last_updated": "2026-11-23T18:10:00Z",
    }  # fmt: skip
    assert model["runs"][2]["performance"] == best
    assert model["runs"][2]["model_path"] == "s3://bucket/phase1/2026/11/23-180000/models/"
    assert model["runs"][1]["reason_code"] == "NoProgress"
    assert model["runs"][0]["end_time"] is None


def test_the_registry_has_the_parts_of_a_run_s_cost_once_they_are_known(make_record):
    known = make_record(cost_usd=0.2, cost={"instance_usd": 0.19, "total_usd": 0.2})

    entries = read_model([known, make_record(run_id="20261123-170000")], "bucket", NOW)["runs"]

    assert [entry["cost"] for entry in entries] == [{"instance_usd": 0.19, "total_usd": 0.2}, None]


@pytest.mark.parametrize(
    ("metrics", "best"),
    [
        ({}, None),
        ({"A": {"mase": 0.9, "mae": 1.0}, "B": {"mase": 0.8, "mae": 2.0}}, 0.8),
        ({"A": {"mase": None, "mae": 1.0}, "B": {"mase": 0.8, "mae": 2.0}}, 0.8),
    ],
)
def test_the_best_model_is_the_one_with_the_lowest_mase(make_record, metrics, best):
    assert best_metrics(make_record(metrics=metrics)).get("mase") == best


def test_without_mase_the_lowest_mae_is_best(make_record):
    metrics = {"A": {"mase": None, "mae": 2.0}, "B": {"mase": None, "mae": 1.0}, "C": {"mae": None}}

    assert best_metrics(make_record(metrics=metrics)) == {"mase": None, "mae": 1.0}
