"""Counts the inputs that the properties draw, and a run of the controller to draw them for. Runs under pytest."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.properties.budget import drawn


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Put on record how many inputs a property drew, where the summary of tests/conftest.py finds it."""
    _count_calls(item)
    before = drawn.total()
    yield
    if drawn.total() > before:
        item.user_properties.append(("generated_inputs", drawn.total() - before))


def _count_calls(item: pytest.Item) -> None:
    """Wrap what hypothesis calls once an input (`inner_test` is hypothesis' own hook for plugins)."""
    handle = getattr(getattr(item, "obj", None), "hypothesis", None)
    if handle is None or getattr(handle.inner_test, "counted", False):
        return
    real, name = handle.inner_test, item.name

    def counted(*arguments: Any, **named: Any) -> Any:
        answer = real(*arguments, **named)  # raises when the input is rejected: that one does not count
        drawn[name] += 1
        return answer

    counted.counted = True  # type: ignore[attr-defined]
    handle.inner_test = counted
