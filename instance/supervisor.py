"""Watches over one attempt: the worker, the limits, the spot notice, and what is said of them. Runs on the instance."""

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from contracts import layout
from contracts.documents import DocumentInvalid, parse
from contracts.reasons import reported
from instance.identity import Folders, Identity
from instance.limits import Limits, Outcome, heartbeat_seconds, limits_of
from instance.log_tail import LogTail
from instance.metadata_service import MetadataService
from instance.phase_record import PhaseRecord, read_timeline
from instance.state_report import StateReport
from instance.worker_process import WorkerProcess, worker_command

logger = logging.getLogger(__name__)

EVENT_SECONDS = 0.5
SPOT_POLL_SECONDS = 5.0
SPOT_GRACE_SECONDS = 60.0
STOP_GRACE_SECONDS = 20.0
LOG_BYTES = 5 << 20
TAIL_PATIENCE_SECONDS = 5.0
INTERRUPTED_EXIT = 2
# What system-state.json and training.json take.
PHASES = ("preflight", "data_sync", "training", "results_sync")
STATUSES = ("pass", "fail", "interrupted")
LARGEST_COUNT = 10**12
UNIT_LENGTH = 40
FIGURES = ("seconds_left", "loss", "series_per_second")
SHUT_DOWN = Outcome("interrupted", "InstanceLost", "The machine was told to shut down.")


class ManifestUnreadable(Exception):
    """The run's manifest is not there or does not follow its contract."""


@dataclass
class Supervisor:
    """Runs the worker and tells the controller about it.

    Parameters
    ----------
    identity, folders
        Which run this is, and where its files are.
    client
        S3.
    state : StateReport
        Writer of system-state.json.
    metadata : MetadataService
        Source of the spot notice.
    environment : mapping
        Environment variables for the worker.
    """

    identity: Identity
    folders: Folders
    client: Any
    state: StateReport
    metadata: MetadataService
    environment: Mapping[str, str]
    record: PhaseRecord = field(default_factory=PhaseRecord)
    told: Outcome | None = None
    phase: str = "preflight"
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)
    phase_began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    spot_polled_at: float = 0.0
    asked_to_stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> bool:
        """Supervise the attempt to its end; return whether the terminal state is on S3."""
        try:
            self.record.boot(read_timeline(self.folders.state / "timeline"), self.state.started_at)
            outcome = self._attempt()
        except ManifestUnreadable as error:
            outcome = Outcome("failed", "BootFailed", str(error))
        except Exception as error:
            logger.exception("the supervisor failed")
            outcome = Outcome("failed", "TrainingFailed", f"The supervisor failed: {type(error).__name__}: {error}")
        logger.info("the attempt ended: %s", outcome)
        outcome = self._upload_record(outcome)
        self._upload_logs()
        return self.state.end(outcome)

    def stop_on_signal(self) -> None:
        """Take SIGTERM, which a shutdown sends, as the loss of the machine."""
        signal.signal(signal.SIGTERM, lambda *_: self.asked_to_stop.set())

    def _attempt(self) -> Outcome:
        manifest, path = self._read_manifest()
        beat_seconds = heartbeat_seconds(manifest["request"]["heartbeat_timeout_seconds"])
        self.state.start(beat_seconds)
        started_at = datetime.fromisoformat(self.state.started_at)
        limits = limits_of(manifest, self.identity.instance_type, self.identity.market, started_at)
        command = worker_command(path, self.folders.run, self.identity.folder, self.identity.earlier_folders)
        log = self.folders.logs / layout.TRAINING_LOG
        worker = WorkerProcess(command, log, self.environment)
        tail = LogTail(log, lambda body: self._put_log(log.name, body), beat_seconds)
        tail.start()
        try:
            return self._watch(worker, limits)
        finally:
            worker.kill()
            tail.stop(TAIL_PATIENCE_SECONDS)

    def _read_manifest(self) -> tuple[dict[str, Any], Path]:
        key = self.identity.prefix + layout.MANIFEST
        try:
            body = self.client.get_object(Bucket=self.identity.bucket, Key=key)["Body"].read()
            manifest = parse("manifest", body)
        except (ClientError, BotoCoreError, DocumentInvalid) as error:
            raise ManifestUnreadable(f"{key}: expected the run's manifest, found: {error}") from error
        self.folders.run.mkdir(parents=True, exist_ok=True)
        path = self.folders.run / layout.MANIFEST
        path.write_text(json.dumps(manifest))
        return manifest, path

    def _watch(self, worker: WorkerProcess, limits: Limits) -> Outcome:
        while not worker.ended:
            event = worker.next_event(EVENT_SECONDS)
            if event is not None:
                self._apply(event)
            stop = self._reason_to_stop(limits)
            if stop is not None:
                return self._stopped(worker, stop)
        return self._ended(worker)

    def _reason_to_stop(self, limits: Limits) -> Outcome | None:
        if self.asked_to_stop.is_set():
            return SHUT_DOWN
        if time.monotonic() - self.spot_polled_at >= SPOT_POLL_SECONDS:
            self.spot_polled_at = time.monotonic()
            at = self.metadata.spot_interruption()
            if at is not None:
                return Outcome("interrupted", "SpotInterrupted", f"AWS takes the machine back at {at}.")
        return limits.broken(self._now(), self.phase, self.phase_began_at)

    def _now(self) -> datetime:
        """Return the time by a clock that nobody sets: a corrected system clock must not break a limit."""
        return self.began_at + timedelta(seconds=time.monotonic() - self.began)

    def _stopped(self, worker: WorkerProcess, why: Outcome) -> Outcome:
        # What it said before is its own fault; what it says while the machine goes down may be the end of its children.
        told = None if why.status == "interrupted" else self.told
        worker.stop(SPOT_GRACE_SECONDS if why.code == "SpotInterrupted" else STOP_GRACE_SECONDS)
        self._hear_out(worker)
        # A worker that got everything uploaded before it could be stopped has done its work.
        finished = worker.process.returncode == 0 and self.record.artifacts is not None
        return Outcome("completed") if finished else told or why

    def _ended(self, worker: WorkerProcess) -> Outcome:
        self._hear_out(worker)
        code = worker.process.returncode
        if code == 0 and self.record.artifacts is not None:
            return Outcome("completed")
        # A shutdown ends every process at once: the worker, or what it works with, may go before the flag is looked at.
        if self.asked_to_stop.is_set() or code in (INTERRUPTED_EXIT, -signal.SIGTERM):
            return SHUT_DOWN
        if self.told is not None:
            return self.told
        if code == -signal.SIGKILL:
            sentence = f"The worker was killed in {self.phase} (signal 9), possibly out of memory."
        elif code < 0:
            sentence = f"The worker was ended by signal {-code} in {self.phase}."
        else:
            sentence = f"The worker ended in {self.phase} with exit code {code} before it was done."
        said = worker.last_words()
        return Outcome("failed", "TrainingFailed", f"{sentence} Last lines: {said}" if said else sentence)

    def _hear_out(self, worker: WorkerProcess) -> None:
        deadline = time.monotonic() + 2 * EVENT_SECONDS
        while not worker.drained and time.monotonic() < deadline:
            event = worker.next_event(EVENT_SECONDS)
            if event is not None:
                self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        match event:
            case {"event": "phase", "phase": str(phase)} if phase in PHASES:
                self.phase, self.phase_began_at = phase, self._now()
                self.record.begin(phase)
                self.state.phase(phase)
            case {"event": "progress", "progress": {"step": int(step), "total": total, "unit": str(unit), **figures}}:
                counted = _counted(step, total, unit) | _measured(figures)
                self.state.progress(counted, str(event.get("message", "")))
            case {"event": "finished", "phase": str(phase), "status": str(status), "details": dict(details)}:
                self.record.finish(phase, status if status in STATUSES else "fail", details)
            case {"event": "failed", "code": str(code), "message": str(message)}:
                self.told = Outcome("failed", *reported(code, message, fallback="TrainingFailed"))
            case {"event": "artifacts", "artifacts": list(artifacts)}:
                self.record.artifacts = artifacts

    def _upload_record(self, outcome: Outcome) -> Outcome:
        """Upload training.json; without it a completed run cannot be verified, so it is not one."""
        try:
            self._put(layout.TRAINING, self.record.document(self.identity, outcome))
        except Exception as error:  # whatever it is, the end of the run must be told
            logger.exception("training.json could not be uploaded")
            if outcome.status == "completed":
                return Outcome("failed", "ResultsSyncFailed", f"training.json could not be uploaded: {error}")
        return outcome

    def _upload_logs(self) -> None:
        for path in self.folders.log_files():
            try:
                with path.open("rb") as file:
                    file.seek(max(0, path.stat().st_size - LOG_BYTES))
                    self._put_log(path.name, file.read())
            except FileNotFoundError:
                continue
            except (OSError, ClientError, BotoCoreError):
                logger.warning("%s could not be uploaded", path.name, exc_info=True)

    def _put_log(self, name: str, body: bytes) -> None:
        self._put(layout.LOGS + name, body)

    def _put(self, name: str, body: bytes) -> None:
        self.client.put_object(
            Bucket=self.identity.bucket, Key=self.identity.folder + name, Body=body, ChecksumAlgorithm="SHA256"
        )


def _counted(step: int, total: Any, unit: str) -> dict[str, Any]:
    """Return progress within the bounds of system-state.json."""
    known = isinstance(total, int) and 0 <= total <= LARGEST_COUNT
    counted = int(min(max(0, step), LARGEST_COUNT))
    return {"step": counted, "total": int(total) if known else None, "unit": unit[:UNIT_LENGTH]}


def _measured(figures: Mapping[Any, Any]) -> dict[str, float]:
    """Return the figures that system-state.json takes, those that are numbers."""
    known = {name: figures[name] for name in FIGURES if isinstance(figures.get(name), int | float)}
    return {name: value for name, value in known.items() if math.isfinite(value) and (value >= 0 or name == "loss")}
