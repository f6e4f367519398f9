"""Structured logs and metrics of every function, each line with its run id. Runs in Lambda."""

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger(service="chronos-training")
metrics = Metrics(namespace="ChronosTraining", service="controller")


def count(name: str, value: float = 1, unit: Any = MetricUnit.Count) -> None:
    """Add to a metric of this invocation; it is sent with the function's log."""
    metrics.add_metric(name=name, unit=unit, value=value)


def about(run_id: str, **keys: Any) -> None:
    """Put the run id, and more, on every log line of this invocation."""
    logger.append_keys(run_id=run_id, **keys)
