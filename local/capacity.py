"""Launch errors on demand, so that tests can see the capacity ladder work. Runs inside the embedded cloud's server.

`capacity.json` in the state folder maps a pattern `<instance type>/<market>/<zone>` (shell wildcards; parts left out
match all; market is `on_demand` or `spot`) to an EC2 error code, or to {"error": code, "times": n} for the first n
launches only. With "made" the instance is there all the same, and only the answer is an error. Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

import fnmatch
from pathlib import Path
from typing import Any

from local.fault_file import FaultFile

SERVER_ERRORS = frozenset({"InsufficientInstanceCapacity", "InsufficientCapacity", "InternalError", "Unavailable"})


class CapacityFaults:
    """Decides which launches fail.

    Parameters
    ----------
    path : Path
        `capacity.json`; it is read at each launch, so a test can change it at any time.
    """

    def __init__(self, path: Path) -> None:
        self._faults = FaultFile(path)

    def error_for(self, instance_type: str, market: str, zone: str, made: bool = False) -> str | None:
        """Return the EC2 error code this launch fails with, before or after it `made` the instance; None for none."""
        for pattern, fault in self._faults.ordered().items():
            if bool(isinstance(fault, dict) and fault.get("made")) is not made:
                continue
            wanted = [*pattern.split("/"), "*", "*"][:3]
            actual = (instance_type, market, zone)
            matches = all(fnmatch.fnmatchcase(value, part) for value, part in zip(actual, wanted, strict=True))
            if matches and (code := self._use(pattern, fault)):
                return code
        return None

    def _use(self, pattern: str, fault: Any) -> str | None:
        code, times = (fault["error"], int(fault.get("times", 1))) if isinstance(fault, dict) else (fault, None)
        if times is not None and self._faults.count(pattern) > times:
            return None
        self._faults.note(pattern)
        return str(code)


def describe(code: str, instance_type: str, zone: str) -> str:
    """Return a message in the manner of EC2 for an injected launch error."""
    if code == "InsufficientInstanceCapacity":
        return f"We currently do not have sufficient {instance_type} capacity in the Availability Zone ({zone})."
    return f"{code}: injected by capacity.json for {instance_type} in {zone}."


def status_of(code: str) -> int:
    """Return the HTTP status EC2 sends with an error code: 500 for lack of capacity, 400 for a caller's error."""
    return 500 if code in SERVER_ERRORS else 400
