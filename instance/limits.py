"""When a run must stop itself: deadline, phase timeout, cost cap. Pure. Runs on the instance, in the supervisor."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contracts.reasons import INSTANCE_CODES

COST_CAP_SHARE = 0.95
SECONDS_PER_HOUR = 3600
LONGEST_HEARTBEAT_SECONDS = 30.0
SHORTEST_HEARTBEAT_SECONDS = 1.0
HEARTBEATS_PER_TIMEOUT = 6


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended: completed, or failed or interrupted with a reason code and a sentence.

    Raises
    ------
    ValueError
        The code is not one that a machine may give of itself.
    """

    status: str
    code: str | None = None
    message: str = ""

    def __post_init__(self) -> None:
        if self.code is not None and self.code not in INSTANCE_CODES:
            raise ValueError(f"code: expected one of {sorted(INSTANCE_CODES)}, found {self.code!r}")


@dataclass(frozen=True)
class Limits:
    """The limits of one attempt.

    Parameters
    ----------
    started_at, deadline_at : datetime
        When the machine began to cost money, and when training must have ended (UTC).
    phase_timeout_seconds : float, optional
        Longest time of one phase.
    usd_per_hour, max_cost_usd : float
        Price of this machine with its volume and address, and the run's cap.
    """

    started_at: datetime
    deadline_at: datetime
    phase_timeout_seconds: float | None
    usd_per_hour: float
    max_cost_usd: float

    def cost_usd(self, now: datetime) -> float:
        """Return what the machine has cost so far."""
        return (now - self.started_at).total_seconds() / SECONDS_PER_HOUR * self.usd_per_hour

    def broken(self, now: datetime, phase: str, phase_started_at: datetime) -> Outcome | None:
        """Return the outcome of the first limit that is reached, or None."""
        if now >= self.deadline_at:
            return Outcome("failed", "RunTimedOut", f"The deadline {self.deadline_at.isoformat()} passed in {phase}.")
        in_phase = (now - phase_started_at).total_seconds()
        if self.phase_timeout_seconds is not None and in_phase >= self.phase_timeout_seconds:
            allowed = f"{self.phase_timeout_seconds:g} s"
            return Outcome("failed", "PhaseTimedOut", f"Phase {phase} took {in_phase:.0f} s; {allowed} are allowed.")
        cost = self.cost_usd(now)
        if cost >= COST_CAP_SHARE * self.max_cost_usd:
            cap = f"{COST_CAP_SHARE:.0%} of max_cost_usd = {self.max_cost_usd:g}"
            return Outcome("failed", "CostCapReached", f"The machine has cost {cost:.4f} USD, {cap}.")
        return None


def limits_of(manifest: dict[str, Any], instance_type: str, market: str, started_at: datetime) -> Limits:
    """Return the limits that a manifest sets for this machine; an unlisted type costs as the dearest listed one."""
    request, prices = manifest["request"], manifest["usd_per_hour"]
    dearest = max((price[market] for price in prices.values()), default=0.0)
    return Limits(
        started_at=started_at,
        deadline_at=datetime.fromisoformat(manifest["deadline_at"]),
        phase_timeout_seconds=request["phase_timeout_seconds"],
        usd_per_hour=prices[instance_type][market] if instance_type in prices else dearest,
        max_cost_usd=request["max_cost_usd"],
    )


def heartbeat_seconds(heartbeat_timeout_seconds: float) -> float:
    """Return the time between two heartbeats: six in a timeout, at least every 30 s, at most every second."""
    wanted = heartbeat_timeout_seconds / HEARTBEATS_PER_TIMEOUT
    return min(LONGEST_HEARTBEAT_SECONDS, max(SHORTEST_HEARTBEAT_SECONDS, wanted))
