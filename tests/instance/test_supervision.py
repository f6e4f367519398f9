"""The supervisor: how each end of the worker, each limit and a spot notice become a terminal state."""

import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.documents import parse
from instance.identity import Folders
from instance.state_report import StateReport, utc_now
from instance.supervisor import Supervisor
from local import processes
from tests.instance.samples import FOLDER
from tests.instance.supervised import Notice, Scene
from tests.instance.test_state_reports import IDENTITY

ARTIFACT = {"path": "forecasts/AutoETS.parquet", "bytes": 1, "sha256": "0" * 64}


@pytest.fixture
def scene(s3: Any, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(s3, tiny_weights, tmp_path, monkeypatch)


def test_a_worker_that_did_everything_completes_the_run(scene: Scene) -> None:
    state = scene.run(
        f"print('a line for the log')\n"
        f"for name in ('preflight', 'data_sync', 'training'): phase(name); finished(name)\n"
        f"phase('results_sync'); tell(event='artifacts', artifacts=[{ARTIFACT!r}]); finished('results_sync')\n"
    )
    assert (state["status"], state["phase"], state["error"]) == ("completed", "done", None)
    training = scene.training()
    assert training["artifacts"] == [ARTIFACT]
    assert list(training["phases"]) == ["boot", "preflight", "data_sync", "training", "results_sync"]
    assert training["phases"]["training"]["seen"] == 1
    assert training["phases"]["boot"]["timeline"] == {"bootstrap": "2026-11-23T18:00:00.000Z"}
    assert b"a line for the log" in scene.read("logs/training.log")
    assert scene.read("logs/bootstrap.log") == b"booted"


WATCH_OWN_LOG = """
phase('training'); print('step 1 of 9', flush=True)
for n in range(600):
    tell(event="progress", progress={"step": n, "total": None, "unit": "steps"})
    if os.path.exists(os.environ["SEEN"]): break
    time.sleep(0.05)
tell(event='failed', code='DatasetInvalid', message=f'after {n}'); sys.exit(1)
"""


def test_the_end_of_the_log_is_on_s3_while_the_worker_still_works(scene: Scene, tmp_path: Path) -> None:
    seen, real = tmp_path / "seen", scene.s3.put_object
    scene.monkeypatch.setenv("SEEN", str(seen))

    def put(**asked: Any) -> Any:
        if asked["Key"] == f"{FOLDER}logs/training.log":
            seen.write_bytes(asked["Body"])
        return real(**asked)

    scene.monkeypatch.setattr(scene.s3, "put_object", put)
    state = scene.run(WATCH_OWN_LOG)
    assert state["error"]["code"] == "DatasetInvalid"
    assert state["error"]["message"] != "after 599"
    assert b"step 1 of 9" in seen.read_bytes()


def test_a_log_that_cannot_be_uploaded_stops_no_report(scene: Scene, tmp_path: Path) -> None:
    asked_for, real = tmp_path / "seen", scene.s3.put_object
    scene.monkeypatch.setenv("SEEN", str(asked_for))
    after: list[str] = []

    def put(**asked: Any) -> Any:
        if "/logs/" in asked["Key"]:
            asked_for.touch()
            raise ConnectionError("S3 is away for logs")
        if asked_for.exists():
            after.append(asked["Key"])
        return real(**asked)

    scene.monkeypatch.setattr(scene.s3, "put_object", put)
    script = WATCH_OWN_LOG.replace("break", "time.sleep(2.5); break")
    scene.monkeypatch.setattr("instance.supervisor.Supervisor._upload_logs", lambda _: None)
    assert scene.run(script)["status"] == "failed"
    # The heartbeats of 2.5 seconds, one a second, before training.json and the last one.
    assert after.count(f"{FOLDER}system-state.json") >= 3


def test_the_terminal_state_is_written_after_everything_else(scene: Scene) -> None:
    written: list[str] = []
    real = scene.s3.put_object
    scene.monkeypatch.setattr(scene.s3, "put_object", lambda **asked: (written.append(asked["Key"]), real(**asked))[1])
    scene.run("phase('training'); tell(event='failed', code='DatasetInvalid', message='row 7'); sys.exit(1)")
    assert written[-1] == f"{FOLDER}system-state.json"
    assert {f"{FOLDER}training.json", f"{FOLDER}logs/training.log"} <= set(written)


def test_a_worker_s_reason_that_no_machine_can_know_is_told_as_a_failed_training(scene: Scene) -> None:
    state = scene.run("phase('training'); tell(event='failed', code='Aborted', message='row 7'); sys.exit(1)")
    assert state["error"]["code"] == "TrainingFailed"
    assert "Aborted" in state["error"]["message"]
    assert "row 7" in state["error"]["message"]


def test_the_workers_own_reason_is_passed_on(scene: Scene) -> None:
    state = scene.run("phase('training'); tell(event='failed', code='DatasetInvalid', message='row 7'); sys.exit(1)")
    assert state["status"] == "failed"
    assert state["error"] == {"code": "DatasetInvalid", "message": "row 7"}
    assert scene.training()["phases"]["training"]["status"] == "fail"


def test_a_killed_worker_fails_training_and_memory_is_suspected(scene: Scene) -> None:
    state = scene.run("phase('training'); os.kill(os.getpid(), signal.SIGKILL)")
    assert state["error"]["code"] == "TrainingFailed"
    assert state["error"]["message"].endswith("(signal 9), possibly out of memory.")


def test_a_worker_that_just_ends_fails_with_its_last_words(scene: Scene) -> None:
    state = scene.run("phase('data_sync'); sys.exit('no idea why')")
    assert state["error"]["code"] == "TrainingFailed"
    assert "ended in data_sync with exit code 1" in state["error"]["message"]
    assert "no idea why" in state["error"]["message"]


def test_success_without_artifacts_is_no_success(scene: Scene) -> None:
    assert scene.run("phase('results_sync'); finished('results_sync')")["status"] == "failed"


def test_nonsense_from_the_worker_is_ignored(scene: Scene) -> None:
    state = scene.run(
        'pipe.write(\'not json\\n[1]\\n{"event": "progress", "progress": 7, "message": 1}\\n\')\n'
        "tell(event='progress', progress={'step': -5, 'total': 'x', 'unit': 'u' * 99}, message='m')\n"
        "phase('training'); tell(event='failed', code='no such code', message='m'); sys.exit(1)\n"
    )
    assert state["error"]["code"] == "TrainingFailed"
    assert state["error"]["message"].endswith("It said: m")


def test_junk_within_a_report_breaks_neither_heartbeats_nor_the_end(scene: Scene) -> None:
    state = scene.run(
        "phase('no phase'); phase('training')\n"
        "tell(event='progress', progress={'step': 10**30, 'total': 10**30, 'unit': 'u'}, message='m')\n"
        "tell(event='progress', progress={'step': True, 'total': True, 'unit': 'u'}, message='m')\n"
        "pipe.write('[' * 100000 + '\\n')\n"
        "tell(event='finished', phase='training', status='no status', details={'ratio': float('nan')})\n"
        "time.sleep(2); tell(event='failed', code='DatasetInvalid', message='x' * 100000); sys.exit(1)\n"
    )
    assert (state["phase"], state["error"]["code"]) == ("training", "DatasetInvalid")
    assert state["seq"] >= 3  # the heartbeats went on


def test_a_worker_that_ends_with_the_machine_is_interrupted_not_failed(scene: Scene) -> None:
    state = scene.run("phase('training'); os.kill(os.getpid(), signal.SIGTERM)")
    assert (state["status"], state["error"]["code"]) == ("interrupted", "InstanceLost")


def test_a_worker_that_said_why_and_then_hangs_is_not_blamed_on_the_limit(scene: Scene) -> None:
    state = scene.run(
        "phase('training'); tell(event='failed', code='DatasetInvalid', message='row 7'); time.sleep(60)",
        phase_timeout_seconds=1,
    )
    assert state["error"]["code"] == "DatasetInvalid"


def test_a_clock_that_is_set_forward_breaks_no_limit(scene: Scene) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            supervised = scene.supervisor is not None
            return datetime.now(tz) + timedelta(hours=3 if supervised else 0)

    scene.monkeypatch.setattr("instance.supervisor.datetime", Clock)
    state = scene.run(
        f"for name in ('training', 'results_sync'): phase(name); time.sleep(1); finished(name)\n"
        f"tell(event='artifacts', artifacts=[{ARTIFACT!r}])\n",
        phase_timeout_seconds=60,
        max_cost_usd=1,
    )
    assert state["status"] == "completed"


def test_loss_speed_and_time_left_reach_the_report_and_nonsense_does_not(scene: Scene) -> None:
    figures = "{'step': 7, 'total': 9, 'unit': 'u', 'loss': -0.25, 'series_per_second': 80, 'seconds_left': 12.5}"
    nonsense = "{'step': 8, 'total': 9, 'unit': 'u', 'loss': None, 'series_per_second': -1, 'seconds_left': 'soon'}"
    script = f"phase('training'); tell(event='progress', progress={figures}, message='m')\n"
    ended = scene.run(script + "sys.exit(1)\n")
    assert ended["progress"] == {
        "step": 7, "total": 9, "unit": "u", "loss": -0.25, "series_per_second": 80, "seconds_left": 12.5,
    }  # fmt: skip
    shutil.rmtree(scene.folder)
    ended = scene.run(script + f"tell(event='progress', progress={nonsense}, message='m')\nsys.exit(1)\n")
    assert ended["progress"] == {"step": 8, "total": 9, "unit": "u"}


def test_a_hung_worker_lives_on_in_heartbeats_without_progress(scene: Scene) -> None:
    states: list[dict[str, Any]] = []
    real = scene.s3.put_object

    def spy(**asked: Any) -> Any:
        if asked["Key"].endswith("system-state.json"):
            states.append(parse("system_state", asked["Body"]))
        return real(**asked)

    scene.monkeypatch.setattr(scene.s3, "put_object", spy)
    scene.run("phase('training'); time.sleep(60)", phase_timeout_seconds=3)
    running = [state for state in states if state["phase"] == "training" and state["status"] == "running"]
    assert len(running) >= 3
    assert {str(state["progress"]) for state in running} == {"None"}
    assert states[-1]["error"]["code"] == "PhaseTimedOut"


def test_the_deadline_ends_the_run_and_everything_the_worker_started(scene: Scene) -> None:
    scene.manifest["deadline_at"] = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    scene.monkeypatch.setattr("instance.supervisor.STOP_GRACE_SECONDS", 0.5)
    child = scene.folder / "child"
    state = scene.run(
        "import subprocess\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(child)!r}, 'w').write(str(subprocess.Popen(['sleep', '60']).pid))\n"
        "phase('training'); time.sleep(60)\n"
    )
    assert state["error"]["code"] == "RunTimedOut"
    assert not alive(int(child.read_text()))


def test_the_cost_cap_ends_the_run(scene: Scene) -> None:
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    state = scene.run("phase('training'); time.sleep(60)", started_at=an_hour_ago, max_cost_usd=0.5)
    assert state["error"]["code"] == "CostCapReached"
    assert state["status"] == "failed"


def test_a_spot_notice_interrupts_the_run(scene: Scene) -> None:
    scene.notice = "2026-11-23T18:02:00Z"
    state = scene.run("phase('training'); time.sleep(60)")
    assert (state["status"], state["error"]["code"]) == ("interrupted", "SpotInterrupted")
    assert "2026-11-23T18:02:00Z" in state["error"]["message"]


def test_sigterm_reaches_the_worker_before_the_kill(scene: Scene) -> None:
    flag = scene.folder / "flag"
    state = scene.run(
        "def stop(*_):\n"
        f"    open({str(flag)!r}, 'w').write('checkpointed')\n"
        "    finished('training', 'interrupted'); sys.exit(2)\n"
        "signal.signal(signal.SIGTERM, stop); phase('training'); time.sleep(60)\n",
        phase_timeout_seconds=1,
    )
    assert state["error"]["code"] == "PhaseTimedOut"
    assert flag.read_text() == "checkpointed"
    assert scene.training()["phases"]["training"]["status"] == "interrupted"


def test_a_missing_manifest_is_a_failed_boot(scene: Scene) -> None:
    real = scene.s3.get_object
    scene.monkeypatch.setattr(scene.s3, "get_object", lambda **asked: real(**{**asked, "Key": "nothing"}))
    folders = Folders(work=scene.folder / "opt", logs=scene.folder / "log")
    folders.state.mkdir(parents=True)
    states: list[bytes] = []
    report = StateReport(IDENTITY, lambda _, body: states.append(body), folders.state, utc_now())
    assert Supervisor(IDENTITY, folders, scene.s3, report, Notice(), {}).run()
    assert parse("system_state", states[-1])["error"]["code"] == "BootFailed"


def alive(pid: int) -> bool:
    for _ in range(50):
        if processes.state(pid) in ("", "Z"):
            return False
        time.sleep(0.02)
    return True
