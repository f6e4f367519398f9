"""What a run has cost, from its recorded timeline. Runs in Lambda and in the CLI; pure."""

from contracts.prices import Cost, run_cost
from lambdas.core.acceptance import HEARTBEAT_SECONDS
from lambdas.core.records import RunRecord

_NOTHING = Cost(0.0, 0.0, 0.0, 0.0)


def actual_cost(record: RunRecord, now: int) -> Cost:
    """Return the cost of all attempts of `record` so far, USD."""
    total = run_transitions_only()
    for attempt in record.attempts:
        seconds = (attempt.ended_at or now) - attempt.launched_at
        beats = round(seconds / HEARTBEAT_SECONDS)
        total = _sum(total, run_cost(attempt.instance_type, attempt.market, seconds, beats, transitions=0))
    return total


def run_transitions_only() -> Cost:
    """Return the cost of a run that never launched: its state transitions."""
    return run_cost("g4dn.2xlarge", "on_demand", seconds=0, heartbeats=0)


def _sum(one: Cost, other: Cost) -> Cost:
    return Cost(
        one.instance_usd + other.instance_usd,
        one.volume_usd + other.volume_usd,
        one.address_usd + other.address_usd,
        one.requests_usd + other.requests_usd,
    )
