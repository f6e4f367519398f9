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

    key = layout.machine_folder(layout.run_prefix(run_id), "AROAEXAMPLE", "i-0123456789abcdef0") + layout.SYSTEM_STATE

    assert layout.source_of_state_key(key) == (run_id, "i-0123456789abcdef0")


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
        "20261123-180000-1234567890123",
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
        "phase1/2026/11/23-180000/system-state.json",
        "phase1/2026/11/23-180000/machines/AROAEXAMPLE:i-0a/models/system-state.json",
        "phase1/2026/11/23-180000/machines/AROAEXAMPLE:i-0a/training.json",
        "phase1/2026/11/23-180000/machines/AROAEXAMPLE:i-0a/system-state.json.bak",
        "phase1/2026/11/23-180000/machines/i-0a/system-state.json",
        "phase1/2026/11/23-180000/machines/AROAEXAMPLE:i-0a/machines/AROAEXAMPLE:i-0b/system-state.json",
        "datasets/2026/11/23-180000/machines/AROAEXAMPLE:i-0a/system-state.json",
        "phase1/2026/11/machines/AROAEXAMPLE:i-0a/system-state.json",
        "phase1/2026/11/23-180000/machines/AROAEXAMPLE:i-0a/system-state.json\n",
    ],
)
def test_any_other_key_belongs_to_no_run(key):
    assert layout.source_of_state_key(key) is None


@given(st.text(max_size=60))
def test_any_text_is_a_state_key_or_it_is_not(text):
    source = layout.source_of_state_key(text)

    assert source is None or text.startswith(layout.run_prefix(source[0]))


@pytest.mark.parametrize(
    ("path", "fits"),
    [
        ("model_metadata.json", True), ("forecasts/A.parquet", True), ("models/A/tokens/config.json", True),
        ("manifest.json", False), ("forecasts/../manifest.json", False), ("/forecasts/A.parquet", False),
        ("logs/attempt-1/training.log", False), ("machines/x/forecasts/A.parquet", False), ("", False),
    ],
)  # fmt: skip
def test_results_have_paths_of_their_own(path, fits):
    assert layout.is_result(path) is fits


def test_reports_and_manifest_accept_exactly_the_run_ids_of_the_layout():
    patterns = {schema(name)["properties"]["run_id"]["pattern"] for name in ("system_state", "manifest")}

    assert patterns == {"^[0-9]{8}-[0-9]{6}(-[0-9]{1,12})?$"}
