"""A case's run under way. Runs in a worker."""

from collections.abc import Callable
from typing import NamedTuple


class Begun(NamedTuple):
    """A run under way.

    Parameters
    ----------
    arn : str
        Of its execution; "" when what was uploaded got a note instead of a run.
    fired : callable
        Tells whether the fault met the run.
    problem : callable
        Tells, at the end, what is wrong with the case beside its verdict; "" for nothing.
    machine_seconds : float or None
        From a net's event to the machine's end, where that is measured.
    """

    arn: str
    fired: Callable[[], bool]
    problem: Callable[[], str] = lambda: ""
    machine_seconds: float | None = None
