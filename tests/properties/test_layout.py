"""Run ids, keys and the names of data sets: one run has one folder, and no name leads out of it. Runs under pytest."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import DocumentInvalid, check
from contracts.layout import DATASETS, RUNS, SYSTEM_STATE, machine_folder, run_id_at, run_prefix, source_of_state_key
from contracts.reasons import RequestInvalid
from lambdas.core.acceptance import Stored, checked_request, newest_dataset
from tests.properties.budget import examples
from tests.properties.documents import report, texts

moments = st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))
clashes = st.integers(1, 99)
machines = st.from_regex(r"i-[0-9a-f]{17}", fullmatch=True)
keys = st.one_of(st.text(max_size=60), st.from_regex(r"phase1/.{0,30}/machines/.{0,30}/system-state\.json"), texts)


@examples(500)
@given(moments, clashes, moments, clashes, machines)
def test_a_run_has_one_folder_and_no_other_run_has_it(one, clash, other, other_clash, machine):
    ids = run_id_at(one, clash), run_id_at(other, other_clash)
    prefixes = [run_prefix(run_id) for run_id in ids]

    assert (ids[0] == ids[1]) == (prefixes[0] == prefixes[1])
    assert not prefixes[0].startswith(prefixes[1]) or ids[0] == ids[1]
    key = machine_folder(prefixes[0], "AROAEXAMPLE", machine) + SYSTEM_STATE
    assert source_of_state_key(key) == (ids[0], machine)
    assert source_of_state_key(prefixes[0] + SYSTEM_STATE) is None
    check("system_state", report(1, run_id=ids[0]))


@examples(800)
@given(keys)
def test_a_key_names_a_run_only_when_it_is_exactly_that_runs_report(key):
    source = source_of_state_key(key)

    assert source is None or key.startswith(run_prefix(source[0]) + "machines/")
    assert source is None or key.endswith(f":{source[1]}/{SYSTEM_STATE}")


@examples(500)
@given(st.one_of(texts, st.from_regex(r"[0-9]{8}-[0-9]{6}.{0,4}")))
def test_a_malformed_run_id_gives_no_folder(run_id):
    try:
        prefix = run_prefix(run_id)
    except ValueError as refused:
        assert "expected YYYYMMDD-HHMMSS" in str(refused)
        with pytest.raises(DocumentInvalid):
            check("system_state", report(1, run_id=run_id))
    else:
        assert re.fullmatch(r"phase1/[0-9]{4}/[0-9]{2}/[0-9]{2}-[0-9]{6}(-[0-9]{1,12})?/", prefix)
        assert prefix.startswith(RUNS)


@examples(800)
@given(st.one_of(texts, st.text(max_size=120), st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}.?")))
def test_a_name_in_a_request_is_one_harmless_folder_or_refused(name):
    for field in ("dataset", "chronos_weights"):
        try:
            accepted = checked_request({field: name})[field]
        except RequestInvalid as refused:
            assert refused.message.startswith(f"{field}: expected ")
        else:
            assert accepted == name
            assert name.isascii()
            assert name.isprintable()
            assert not set(name) & set("/\\ '\"<>$`")
            assert name not in (".", "..")


@examples(500)
@given(
    st.lists(
        st.builds(Stored, st.one_of(keys, texts).map(lambda k: DATASETS + k), st.integers(0, 9), texts, st.floats(0, 9))
    )
)
def test_the_newest_data_set_is_a_folder_that_holds_a_data_file(objects):
    name = newest_dataset(objects)

    if name is not None:
        assert any(o.size and o.key.startswith(f"{DATASETS}{name}/") for o in objects)
