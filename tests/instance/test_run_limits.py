"""The limits that a run sets itself, and how often it reports."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.documents import check
from contracts.reasons import INSTANCE_CODES, REASONS
from instance.limits import Limits, Outcome, heartbeat_seconds, limits_of

START = datetime(2026, 11, 23, 18, 0, tzinfo=UTC)
LIMITS = Limits(
    started_at=START,
    deadline_at=START + timedelta(hours=2),
    phase_timeout_seconds=600,
    usd_per_hour=0.8,
    max_cost_usd=1.0,
)


@pytest.mark.parametrize("code", sorted(REASONS))
def test_an_attempt_can_end_only_with_a_reason_that_a_machine_can_know(code):
    if code in INSTANCE_CODES:
        assert Outcome("failed", code, "why").code == code
    else:
        with pytest.raises(ValueError, match=f"expected one of .* found '{code}'"):
            Outcome("failed", code, "why")


@pytest.mark.parametrize(
    ("minutes", "phase_minutes", "code"),
    [
        (5, 5, None),
        (10, 9.9, None),
        (10, 10, "PhaseTimedOut"),
        (71, 1, None),
        (71.25, 1, "CostCapReached"),
        (120, 1, "RunTimedOut"),
    ],
)
def test_the_first_broken_limit_is_named(minutes: float, phase_minutes: float, code: str | None) -> None:
    now = START + timedelta(minutes=minutes)
    broken = LIMITS.broken(now, "training", now - timedelta(minutes=phase_minutes))
    assert (broken and broken.code) == code
    assert broken is None or (broken.status == "failed" and len(broken.message) > 20)


def test_the_price_is_the_one_of_type_and_market() -> None:
    manifest = {
        "request": check("run_request", {"max_cost_usd": 2}),
        "deadline_at": "2026-11-23T20:00:00Z",
        "usd_per_hour": {
            "g4dn.xlarge": {"on_demand": 0.54, "spot": 0.26},
            "g4dn.2xlarge": {"on_demand": 0.77, "spot": 0.41},
        },
    }
    assert limits_of(manifest, "g4dn.xlarge", "spot", START).usd_per_hour == 0.26
    assert limits_of(manifest, "other.type", "on_demand", START).usd_per_hour == 0.77
    assert limits_of(manifest, "g4dn.xlarge", "spot", START).deadline_at == START + timedelta(hours=2)


@given(st.integers(6, 3600))
def test_several_heartbeats_fit_into_a_timeout(timeout: int) -> None:
    assert 1 <= heartbeat_seconds(timeout) <= 30
    assert heartbeat_seconds(timeout) * 6 <= timeout
