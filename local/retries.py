"""The pause before a retry of a state: MaxDelaySeconds and JitterStrategy. Runs in the cloud's server.

Follows https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html: the interval grows by
BackoffRate up to MaxDelaySeconds, and with JitterStrategy FULL the pause is anything between nothing and that.
MiniStack knows neither field.
"""

import random
from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import stepfunctions

Draw = Callable[[float, float], float]


def install() -> None:
    """Let MiniStack find retriers whose pause is worked out already."""
    find = stepfunctions._find_matching_retrier

    def found(retriers: Any, error: str, counts: Any) -> Any:
        retrier, index = find(retriers, error, counts)
        if retrier is None:
            return retrier, index
        return {**retrier, "IntervalSeconds": pause_seconds(retrier, counts.get(index, 0)), "BackoffRate": 1.0}, index

    stepfunctions._find_matching_retrier = found


def pause_seconds(retrier: Mapping[str, Any], retries: int, draw: Draw = random.uniform) -> float:
    """Return the pause before the next try, when `retries` were made under this retrier."""
    interval = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** retries
    longest = min(interval, retrier.get("MaxDelaySeconds", interval))
    return float(draw(0.0, longest) if retrier.get("JitterStrategy") == "FULL" else longest)
