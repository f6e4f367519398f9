"""The worker: the four phases of a run, one after the other, told to the supervisor. Runs on the instance."""

import argparse
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from contracts.reasons import RunError
from instance import objects
from instance.artifacts import result_files
from instance.data_sync import sync
from instance.hardware import decide
from instance.plain_log import log_to_stderr
from instance.preflight import check_machine
from instance.reporting import Interrupted, Reporter
from instance.storage import Storage
from instance.training import Training

ALLOW_CPU = "CHRONOS_ALLOW_CPU"
CODE_OF_PHASE = {
    "preflight": "PreflightFailed",
    "data_sync": "DataSyncFailed",
    "training": "TrainingFailed",
    "results_sync": "ResultsSyncFailed",
}
EXIT_FAILED, EXIT_INTERRUPTED = 1, 2


class Worker:
    """Runs the phases of one attempt.

    Parameters
    ----------
    client
        S3.
    manifest : dict
        manifest.json.
    storage : Storage
        Where results and checkpoints go, and where earlier attempts left theirs.
    work_dir : Path
        Data, weights and results go below it.
    reporter : Reporter
        The line to the supervisor.
    cpu_allowed : bool
        Whether the machine may lack a GPU although the request does not say so.
    """

    def __init__(
        self,
        client: Any,
        manifest: dict[str, Any],
        storage: Storage,
        work_dir: Path,
        reporter: Reporter,
        cpu_allowed: bool = False,
    ) -> None:
        self.client = client
        self.manifest = manifest
        self.storage = storage
        self.work_dir = work_dir
        self.reporter = reporter
        self.cpu_allowed = cpu_allowed or bool(manifest["request"]["allow_cpu"])
        self.phase = "preflight"

    def run(self) -> int:
        """Run every phase, report how it went, and return the process's exit code."""
        try:
            self._phases()
        except RunError as error:
            logging.exception("the %s phase failed", self.phase)
            self.reporter.failed(error.code, error.message)
            return EXIT_FAILED
        except Interrupted:
            return EXIT_INTERRUPTED
        except Exception as error:
            logging.exception("the %s phase failed", self.phase)
            told = traceback.format_exception_only(error)[-1].strip()
            self.reporter.failed(CODE_OF_PHASE[self.phase], told)
            return EXIT_FAILED
        return 0

    def _phases(self) -> None:
        results = self.work_dir / "results"
        results.mkdir(parents=True, exist_ok=True)
        with self.reporter.phase("preflight") as details:
            hardware, found = check_machine(self.manifest, self.work_dir, self.cpu_allowed)
            details.update(found)
        self.phase = "data_sync"
        with self.reporter.phase("data_sync") as details:
            inputs = sync(self.client, self.manifest, self.work_dir, self.reporter, details)
        self.phase = "training"
        with self.reporter.phase("training") as details:
            placement = decide(hardware)
            training = Training(
                self.client, self.manifest, self.storage, inputs, placement, self.work_dir, self.reporter
            )
            training.run(details)
        self.phase = "results_sync"
        with self.reporter.phase("results_sync") as details:
            self._results_sync(results, details)

    def _results_sync(self, results: Path, details: dict[str, Any]) -> None:
        files = result_files(results)
        self.reporter.expect(len(files), "files", "Uploading the results.")
        uploaded = objects.upload_all(
            self.client, self.storage.bucket, self.storage.folder, files, self.reporter.advance
        )
        details.update(files=len(uploaded), bytes_synced=sum(one.bytes for one in uploaded))
        self.reporter.artifacts([one.as_dict() for one in uploaded])


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run as a child of the supervisor, with the command of `worker_process.worker_command` and `--report-fd N`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--folder", required=True, help="key prefix of all that this machine writes")
    parser.add_argument("--earlier-folder", action="append", default=[], help="of an earlier attempt, newest first")
    parser.add_argument("--report-fd", type=int, required=True)
    parsed = parser.parse_args(arguments)
    log_to_stderr()
    logging.getLogger("botocore").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, _interrupt)
    with os.fdopen(parsed.report_fd, "w", buffering=1) as stream:
        manifest = json.loads(parsed.manifest.read_text())
        allowed = environment.get(ALLOW_CPU) == "1"
        storage = Storage(manifest["bucket"], parsed.folder, tuple(parsed.earlier_folder))
        return Worker(objects.s3_client(), manifest, storage, parsed.work_dir, Reporter(stream), allowed).run()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    del signum, frame
    # Once is enough: a second signal must not break the report of the first.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted


if __name__ == "__main__":
    code = main(sys.argv[1:], os.environ)
    logging.shutdown()
    # Not sys.exit: it would wait for download threads and fitting processes that nobody needs any more.
    os._exit(code)
