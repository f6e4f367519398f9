"""The learning rate of each step. Pure. Runs in the worker."""

import math

WARM_UP_SHARE = 0.05
# Bolt's was chosen on the bundled weights (docs/fine-tuning.md has the figures), below the best there, since larger
# weights bear less; Chronos-2's are those that its `fit` recommends (chronos-forecasting 2.3.2).
PEAK = {("Chronos-Bolt", "full"): 3e-4, ("Chronos-2", "full"): 1e-6, ("Chronos-2", "lora"): 1e-5}


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of `step` (from 1) of `steps`: linear warm-up, then half a cosine towards zero.

    Loshchilov and Hutter 2017, "SGDR", equation 5, for one period.
    """
    warm_up = max(1, round(WARM_UP_SHARE * steps))
    if step <= warm_up:
        return peak * step / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up + 1)))


def segment_ends(step: int, steps: int, segment: int) -> list[int]:
    """Return the steps after `step` at which to validate: every multiple of `segment`, and the last step."""
    ends = list(range((step // segment + 1) * segment, steps + 1, segment))
    return ends if ends and ends[-1] == steps else [*ends, steps] if step < steps else []
