"""The worker as a process of its own, and what it told, for its tests. Used by pytest."""

import io
import json
from pathlib import Path
from typing import Any

from instance.reporting import Reporter
from instance.worker import Worker
from tests.instance.samples import storage

REQUEST = {"prediction_length": 4, "n_windows": 2}


def work(client: Any, manifest: dict[str, Any], folder: Path, attempt: int = 1) -> tuple[int, list[dict[str, Any]]]:
    stream = io.StringIO()
    folder.mkdir(exist_ok=True)
    code = Worker(client, manifest, storage(attempt), folder, Reporter(stream)).run()
    return code, [json.loads(line) for line in stream.getvalue().splitlines()]


def details(events: list[dict[str, Any]], phase: str) -> dict[str, Any]:
    return next(event for event in events if event["event"] == "finished" and event["phase"] == phase)


def failure(events: list[dict[str, Any]]) -> tuple[str, str]:
    told = next(event for event in events if event["event"] == "failed")
    return told["code"], told["message"]
