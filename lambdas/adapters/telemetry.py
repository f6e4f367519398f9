"""Structured logs and metrics of every function, each line with its run id. Runs in Lambda."""

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger(service="chronos-training")
metrics = Metrics(namespace="ChronosTraining", service="controller")


def emit(**values: float) -> None:
    """Send metrics by name, in counts, or in seconds where the name says so. They travel in the log, at no call."""
    for name, value in values.items():
        unit = MetricUnit.Seconds if name.endswith("Seconds") else MetricUnit.Count
        metrics.add_metric(name=name, unit=unit, value=value)
    metrics.flush_metrics()


def about(run_id: str, **keys: Any) -> None:
    """Put the run id, and more, on every log line of this invocation."""
    logger.append_keys(run_id=run_id, **keys)
