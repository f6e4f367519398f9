"""Find the frequency that most series of a data set have. Pure. Runs in the worker."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from contracts.reasons import DatasetInvalid
from instance.frequency import CHOICES, Times, infer


def common_frequency(series: Sequence[tuple[str, Times]]) -> str:
    """Return the frequency of most of the series.

    Parameters
    ----------
    series : sequence of (str, datetime64[ns] array)
        Names, and timestamps, sorted and distinct. Series of less than three do not vote where others can.

    Raises
    ------
    DatasetInvalid
        Most have no frequency, or one has another than most. Among series of business days, those too short to span a
        weekend may look daily.
    """
    voters = [(name, times) for name, times in series if len(times) > 2] or series
    found = {name: (infer(times), times) for name, times in voters}
    counts = Counter(alias for alias, _ in found.values())
    usual = max(counts, key=lambda alias: (counts[alias], alias is not None, alias or ""))
    if usual is None:
        name = next(iter(found))
        raise DatasetInvalid(
            f"series {name}: expected timestamps of one frequency ({', '.join(CHOICES)}), found irregular ones or too "
            "few. Set freq in the request, or resample the data."
        )
    for name, (alias, times) in found.items():
        refuse_other_frequency(name, alias, times, usual)
    return usual


def refuse_other_frequency(name: str, alias: str | None, times: Times, usual: str) -> None:
    """Raise DatasetInvalid when a series has the frequency `alias` among series of the frequency `usual`."""
    # Fewer than eight days without a weekend look daily; among business-day series they are business days.
    within_week = (alias, usual) == ("D", "B") and bool(np.is_busday(times.astype("datetime64[D]")).all())
    if alias != usual and not within_week:
        raise DatasetInvalid(
            f"series {name}: expected the frequency {usual} of the other series, found {alias or 'none'}. "
            "Put series of another frequency into a data set of their own."
        )
