"""The sample requests and reports in events/ follow the contracts, or break them where they say so. Offline."""

from pathlib import Path

import pytest

from contracts.documents import DocumentInvalid, check, schema
from lambdas.core.acceptance import checked_request

EVENTS = Path(__file__).parent.parent.parent / "events"


def _names(pattern):
    return sorted(path.stem for path in EVENTS.glob(pattern))


def test_the_full_request_sets_every_field_to_something_allowed(event):
    request = event("request_full")

    assert set(request) == set(schema("run_request")["properties"])
    assert check("run_request", request) == request


def test_the_minimal_request_is_empty(event):
    assert event("request_minimal") == {}


@pytest.mark.parametrize("name", [n for n in _names("request_*.json") if "invalid" not in n])
def test_valid_sample_requests_are_accepted(event, name):
    assert checked_request(event(name))["models"]


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("request_invalid_unknown_key", "modles"),
        ("request_invalid_type", "n_windows"),
        ("request_invalid_choice", "models[0]"),
        ("request_invalid_range", "max_cost_usd"),
        ("request_invalid_dataset_path", "dataset"),
    ],
)
def test_invalid_sample_requests_are_refused_by_the_contract(event, name, field):
    with pytest.raises(DocumentInvalid) as caught:
        check("run_request", event(name))

    assert caught.value.field == field


@pytest.mark.parametrize("name", _names("system_state_*.json"))
def test_sample_reports_follow_the_contract(event, name):
    assert check("system_state", event(name))["status"] == name.removeprefix("system_state_")


def test_every_sample_is_used_by_a_test():
    tests = "\n".join(path.read_text() for path in Path(__file__).parent.parent.rglob("test_*.py"))
    patterns = ("request_", "system_state_")
    by_name = [name for name in _names("*.json") if not name.startswith(patterns)]

    assert [name for name in by_name if f'"{name}"' not in tests] == []
