"""Which kinds of series, and which learning rate, belong to which part of a training. Runs anywhere."""

import math
from collections.abc import Mapping

FIRST: Mapping[str, float] = {"exact": 0.9, "smooth": 0.1}
LAST: Mapping[str, float] = {
    "exact": 0.35,
    "structural": 0.20,
    "evolving": 0.14,
    "walk": 0.15,
    "smooth": 0.09,
    "stationary": 0.04,
    "counts": 0.03,
}
EXACT_UNTIL, MIXED_FROM = 0.12, 0.25
WARM_UP_STEPS, TAIL_FROM, LOWEST_RATE = 100, 0.5, 0.01


def shares_at(progress: float) -> dict[str, float]:
    """Return the share of each kind of series: exact seasons first, then more and more of everything else.

    A small model that meets the whole mix at once learns to draw smooth lines and stays there; one that has learnt to
    repeat a season first keeps it.
    """
    mixed = min(max((progress - EXACT_UNTIL) / (MIXED_FROM - EXACT_UNTIL), 0.0), 1.0)
    return {kind: (1 - mixed) * FIRST.get(kind, 0.0) + mixed * share for kind, share in LAST.items()}


def rate_at(step: int, progress: float) -> float:
    """Return the factor of the learning rate: a linear warm-up, a plateau, and a cosine tail."""
    warm_up = min(1.0, (step + 1) / WARM_UP_STEPS)
    tail = max(progress - TAIL_FROM, 0.0) / (1 - TAIL_FROM)
    return warm_up * max(0.5 * (1 + math.cos(math.pi * min(tail, 1.0))), LOWEST_RATE)
