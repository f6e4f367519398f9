"""A supervisor on a scratch machine whose worker is a script. Used by tests."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.documents import dump, parse
from instance.identity import Folders
from instance.metadata_service import MetadataService
from instance.state_report import StateReport, utc_now
from instance.supervisor import Supervisor
from tests.instance.samples import BUCKET, FOLDER, PREFIX, monthly_frame, stage
from tests.instance.test_state_reports import IDENTITY

PREAMBLE = """
import json, os, signal, sys, time
pipe = os.fdopen(int(sys.argv[-1]), "w", buffering=1)
def tell(**event): pipe.write(json.dumps(event) + "\\n")
def phase(name): tell(event="phase", phase=name)
def finished(name, status="pass"): tell(event="finished", phase=name, status=status, details={"seen": 1})
"""


class Notice(MetadataService):
    """A metadata service that gives the spot notice once told to."""

    def __init__(self, at: str | None = None) -> None:
        super().__init__("http://localhost:9")
        self.at = at

    def spot_interruption(self) -> str | None:
        return self.at


class Scene:
    """A supervisor whose worker is a script, and what it left on S3."""

    def __init__(self, s3: Any, weights: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.s3, self.folder, self.monkeypatch = s3, folder, monkeypatch
        self.manifest = stage(s3, weights, monthly_frame(), {"heartbeat_timeout_seconds": 6})
        self.notice: str | None = None
        self.supervisor: Supervisor | None = None

    def run(self, script: str, started_at: str | None = None, **request: Any) -> dict[str, Any]:
        self.manifest["request"].update(request)
        self.s3.put_object(Bucket=BUCKET, Key=f"{PREFIX}manifest.json", Body=dump("manifest", self.manifest))
        command = [sys.executable, "-c", PREAMBLE + script]
        self.monkeypatch.setattr("instance.supervisor.worker_command", lambda *_: command)
        folders = Folders(work=self.folder / "opt", logs=self.folder / "log" / "chronos")
        folders.state.mkdir(parents=True)
        folders.logs.mkdir(parents=True)
        (folders.state / "timeline").write_text("2026-11-23T18:00:00.000Z bootstrap\n")
        (folders.logs / "bootstrap.log").write_text("booted")

        def put(key: str, body: bytes) -> None:
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

        report = StateReport(IDENTITY, put, folders.state, started_at or utc_now())
        self.supervisor = Supervisor(
            identity=IDENTITY,
            folders=folders,
            client=self.s3,
            state=report,
            metadata=Notice(self.notice),
            environment=dict(os.environ),
        )
        assert self.supervisor.run()
        return parse("system_state", self.read("system-state.json"))

    def read(self, name: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=FOLDER + name)["Body"].read()
        return body

    def training(self) -> dict[str, Any]:
        return parse("training", self.read("training.json"))
