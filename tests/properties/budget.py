"""How many inputs a property draws, by profile, and how many were drawn. Runs under pytest."""

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings

# Inputs by the name of the property, as far as this process has drawn them.
drawn: Counter[str] = Counter()
# A property of `examples(500)` draws the same 500 in every `make test`, and 20 times as many new ones under `long`.
BASE = 100
LONG_FACTOR = 20


def register() -> None:
    """Make the profile `long` known to hypothesis, before its plugin looks for it."""
    settings.register_profile("long", max_examples=BASE * LONG_FACTOR, deadline=None, print_blob=True)


def examples(count: int, **more: Any) -> settings:
    """Return the settings of a property that draws `count` inputs, more under the profile `long`."""
    profile = settings.default
    assert profile is not None
    long = profile.max_examples > BASE
    return settings(
        max_examples=count * profile.max_examples // BASE,
        derandomize=not long,
        deadline=None,
        # A busy machine draws slowly, which says nothing of the code.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        **more,
    )
