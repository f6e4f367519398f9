"""How good the models of a run were, as its record keeps it: few numbers, each one finite. Runs in Lambda; pure."""

import math
from typing import Any

from contracts.documents import Document


def recorded_metrics(metadata: Document, models: list[str]) -> Document:
    """Return the metrics of the models that were asked for, by model and by name; None where one is not defined.

    The contract names the metrics and the request names the models, at most seven of each: a record is some thousand
    bytes, of the 400 KB that DynamoDB takes (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Limits.html).

    Parameters
    ----------
    metadata : dict
        model_metadata.json, which follows its contract.
    models : list of str
        The models of the run's request.
    """
    told = metadata["models"]
    return {
        name: {metric: finite(value) for metric, value in told[name]["metrics"].items()}
        for name in models
        if name in told
    }


def finite(value: Any) -> float | None:
    """Return a number that a float of 64 bits can hold; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:
        return None
