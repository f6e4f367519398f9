"""Run ids, prefixes and keys: each leads back to the other. Runs under pytest, offline."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import layout
from contracts.documents import schema

moments = st.datetimes(datetime(2000, 1, 1), datetime(2999, 12, 31), timezones=st.just(UTC))


@given(moments, st.integers(1, 999))
def test_a_run_id_leads_to_its_state_key_and_back(moment, clash):
    run_id = layout.run_id_at(moment, clash)

    key = layout.run_prefix(run_id) + layout.SYSTEM_STATE

    assert layout.run_id_of_state_key(key) == run_id


@given(moments, moments)
def test_run_ids_sort_as_their_moments_do(one, other):
    one, other = one.replace(microsecond=0), other.replace(microsecond=0)

    assert (layout.run_id_at(one) < layout.run_id_at(other)) == (one < other)


def test_the_layout_is_the_one_in_the_contract():
    run_id = layout.run_id_at(datetime(2026, 11, 23, 18, 0, 5, tzinfo=UTC), clash=2)

    assert run_id == "20261123-180005-2"
    assert layout.run_prefix(run_id) == "phase1/2026/11/23-180005-2/"


@pytest.mark.parametrize(
    "run_id",
    [
        "",
        "2026",
        "20261123-1800",
        "../20261123-180000",
        "20261123-180000-1234",
        "20261123-180000\n",
        "٢٠٢٦1123-180000",
        "x" * 500,
    ],
)
def test_a_malformed_run_id_has_no_prefix(run_id):
    with pytest.raises(ValueError, match="expected YYYYMMDD-HHMMSS") as caught:
        layout.run_prefix(run_id)

    assert len(str(caught.value)) < 150


@pytest.mark.parametrize(
    "key",
    [
        "phase1/2026/11/23-180000/models/system-state.json",
        "phase1/2026/11/23-180000/training.json",
        "phase1/2026/11/23-180000/system-state.json.bak",
        "datasets/2026/11/23-180000/system-state.json",
        "phase1/2026/11/system-state.json",
        "phase1/2026/11/23-180000/system-state.json\n",
    ],
)
def test_any_other_key_belongs_to_no_run(key):
    assert layout.run_id_of_state_key(key) is None


@given(st.text(max_size=60))
def test_any_text_is_a_state_key_or_it_is_not(text):
    run_id = layout.run_id_of_state_key(text)

    assert run_id is None or layout.run_prefix(run_id) + layout.SYSTEM_STATE == text


def test_reports_and_manifest_accept_exactly_the_run_ids_of_the_layout():
    patterns = {schema(name)["properties"]["run_id"]["pattern"] for name in ("system_state", "manifest")}

    assert patterns == {"^[0-9]{8}-[0-9]{6}(-[0-9]{1,3})?$"}
