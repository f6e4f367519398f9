"""Fixtures of every test folder: the sample events. Runs under pytest."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EVENTS = Path(__file__).parent.parent / "events"


@pytest.fixture(scope="session")
def event() -> Callable[[str], Any]:
    """Return a function that loads events/<name>.json, a new copy each time."""
    return lambda name: json.loads((EVENTS / f"{name}.json").read_text())
