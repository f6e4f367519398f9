"""What every test folder shares: the sample events, the profiles of generated input and their count. For pytest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.properties import budget

# hypothesis looks for the profile before any hook of this file is called.
budget.register()

EVENTS = Path(__file__).parent.parent / "events"


@pytest.fixture(scope="session")
def event() -> Callable[[str], Any]:
    """Return a function that loads events/<name>.json, a new copy each time."""
    return lambda name: json.loads((EVENTS / f"{name}.json").read_text())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many inputs the properties drew, in all processes together."""
    reports = [entry for entries in terminalreporter.stats.values() for entry in entries]
    counts = [
        count
        for entry in reports
        if getattr(entry, "when", "") == "call"
        for name, count in entry.user_properties
        if name == "generated_inputs"
    ]
    if counts:
        terminalreporter.write_line(f"generated inputs: {sum(counts)} through {len(counts)} properties")
