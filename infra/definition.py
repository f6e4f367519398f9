"""The state machine's definition, read from its file. Runs at synthesis, and in tests and docs; needs no CDK.

CloudFormation fills in what only a deployment knows. What the code knows is filled in here: the reason codes, which
stand in several lists of errors.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contracts.reasons import FINAL_CODES

FILE = Path(__file__).parent.parent / "statemachine" / "training.asl.json"
_CODES = "${ReasonCodes}"
# Placeholders that stand for numbers: as long as they are there, the text is no JSON.
_NUMBERS = ("${ExecutionTimeoutSeconds}",)


def text() -> str:
    """Return the definition as it is deployed, with placeholders for what CloudFormation knows."""
    return FILE.read_text().replace(_CODES, json.dumps(FINAL_CODES))


def parsed(values: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the definition with placeholders replaced; numbers without a value are 0, other placeholders stay."""
    filled = text()
    for name, value in (values or {}).items():
        filled = filled.replace(f"${{{name}}}", value)
    for number in _NUMBERS:
        filled = filled.replace(number, "0")
    document: dict[str, Any] = json.loads(filled)
    return document
