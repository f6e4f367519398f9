"""Faults that a file orders by name, and which of them met something. Runs in the cloud's server, and beside it.

The file maps a name to what goes wrong. Beside it, with the ending `.met`, each time is noted that something did.
"""

from pathlib import Path
from typing import Any

from local.state_folder import read_json, write_json

_NOTES = ".met"


class FaultFile:
    """One file of faults.

    Parameters
    ----------
    path : Path
        The file; it is read each time, so a test can change it at any time.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.notes = path.with_suffix(_NOTES)
        self._asked: dict[tuple[int, str], int] = {}

    def order(self, faults: dict[str, object]) -> None:
        """Replace the faults; what was met before is forgotten."""
        self.notes.unlink(missing_ok=True)
        write_json(self._path, faults)

    def ordered(self) -> dict[str, Any]:
        """Return the faults by name."""
        return read_json(self._path)

    def count(self, name: str) -> int:
        """Count on and return how often `name` was asked for since the file was written."""
        key = (self._path.stat().st_mtime_ns, name)
        self._asked[key] = self._asked.get(key, 0) + 1
        return self._asked[key]

    def asked(self, name: str) -> int:
        """Return how often `name` was asked for since the file was written."""
        return self._asked.get((self._path.stat().st_mtime_ns, name), 0)

    def note(self, name: str) -> None:
        """Note that a fault met something."""
        with self.notes.open("a") as notes:
            notes.write(name + "\n")

    def met(self) -> list[str]:
        """Return the names of the faults that met something since they were ordered, one for each time."""
        return self.notes.read_text().splitlines() if self.notes.exists() else []
