"""One measured ratio of the benchmark table. Runs on a developer's computer."""

from typing import TypedDict


class Row(TypedDict):
    """A measured ratio, the bound it should keep (`>= 0.95`), and whether it does."""

    name: str
    value: float
    reach: str
    holds: bool


def row(name: str, value: float, reach: float, *, at_most: bool = False) -> Row:
    """Return a row, and whether the value reaches what it should."""
    bound = f"{'<=' if at_most else '>='} {reach:g}"
    return Row(name=name, value=round(value, 3), reach=bound, holds=value <= reach if at_most else value >= reach)
