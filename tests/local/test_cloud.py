"""Starting, filling and ending an embedded cloud; nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import cloud as cloud_module
from local import deployment, processes
from local.cloud import CloudError, LocalCloud
from local.deployment import CDK, REPOSITORY, DeploymentFailed
from local.faults import FaultRefused, Faults
from local.state_folder import CLOUD_MARKER, StateFolder, read_json
from tests.local.bench import Bench
from tests.waiting import until

SLEEP = "#!/bin/bash\nsetsid sleep 60 &\nsleep 60\n"
TEMPLATE = {
    "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
    "Outputs": {"BucketName": {"Value": "a-bucket"}, "Other": {"Value": "x"}},
}


@pytest.fixture
def own(state_folder: Path) -> Iterator[LocalCloud]:
    started = LocalCloud(state_folder)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def assembly(tmp_path: Path) -> Path:
    folder = tmp_path / "assembly"
    folder.mkdir()
    stack = {"type": "aws:cloudformation:stack", "environment": "aws://unknown-account/unknown-region"}
    stack["properties"] = {"templateFile": "Tiny.json"}
    (folder / "manifest.json").write_text(json.dumps({"version": "36.0.0", "artifacts": {"Tiny": stack}}))
    (folder / "Tiny.json").write_text(json.dumps(TEMPLATE))
    return folder


def server_pid(cloud: LocalCloud) -> int:
    return int(read_json(cloud.folder.server)["pid"])


def command(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "local", *words, "--state", str(state)]
    return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)


@pytest.mark.emulator
def test_stop_ends_instances_and_lambdas_too(own: LocalCloud) -> None:
    bench = Bench(own.credentials())
    bench.client("lambda").invoke(FunctionName=bench.function("def handler(event, context): return 1"))
    bench.run(bench.template(SLEEP))
    until(lambda: len(own.left_over()) >= 5)  # server, Lambda worker, bash and its two sleeps
    own.stop()
    assert own.left_over() == []
    assert not own.running
    own.stop()


@pytest.mark.emulator
def test_wait_states_follow_the_scale_of_the_person(state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFN_WAIT_SCALE", "0")
    quick = LocalCloud(state_folder)
    quick.start()
    try:
        bench = Bench(quick.credentials())
        machine = bench.machine({"Wait": {"Type": "Wait", "Seconds": 3600, "End": True}})
        assert bench.finish(bench.start(machine))["status"] == "SUCCEEDED"
    finally:
        quick.stop()


@pytest.mark.emulator
def test_two_clouds_run_side_by_side(own: LocalCloud, cloud: LocalCloud) -> None:
    assert own.credentials()["AWS_ENDPOINT_URL"] != cloud.credentials()["AWS_ENDPOINT_URL"]
    Bench(own.credentials()).client("s3").create_bucket(Bucket="only-here")
    names = [one["Name"] for one in deployment.client(cloud.credentials(), "s3").list_buckets()["Buckets"]]
    assert "only-here" not in names


@pytest.mark.emulator
def test_second_start_in_the_same_folder_is_refused(own: LocalCloud) -> None:
    with pytest.raises(CloudError, match="already runs here"):
        LocalCloud(own.folder.path).start()


@pytest.mark.emulator
def test_cloud_restarts_empty_after_its_server_was_killed(own: LocalCloud) -> None:
    bench = Bench(own.credentials())
    bench.run(bench.template(SLEEP))
    until(lambda: len(own.left_over()) >= 4)
    os.kill(server_pid(own), signal.SIGKILL)
    until(lambda: not own.running)
    assert own.left_over()
    own.start()
    assert deployment.client(own.credentials(), "ec2").describe_instances()["Reservations"] == []
    assert own.left_over() == [server_pid(own)]


@pytest.mark.emulator
def test_cloud_ends_itself_when_the_process_that_started_it_is_killed(state_folder: Path) -> None:
    program = f"""
        import time
        from pathlib import Path
        from tests.local.bench import Bench
        from local.cloud import LocalCloud
        started = LocalCloud(Path({str(state_folder)!r}))
        started.start()
        bench = Bench(started.credentials())
        bench.run(bench.template({SLEEP!r}))
        print("up", flush=True)
        time.sleep(60)
    """
    variables = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    line = [sys.executable, "-c", textwrap.dedent(program)]
    parent = subprocess.Popen(line, env=variables, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "up\n"
    identity = StateFolder(state_folder).identity
    until(lambda: len(processes.find(CLOUD_MARKER, identity)) >= 4)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until(lambda: not processes.find(CLOUD_MARKER, identity))


@pytest.mark.emulator
@pytest.mark.skipif(not CDK.exists(), reason="the cdk command line is not installed: make setup")
def test_deploy_puts_the_outputs_into_the_environment(own: LocalCloud, assembly: Path) -> None:
    steps: list[str] = []
    own.deploy(assembly, steps.append)
    assert own.environment() == own.credentials() | {"BUCKET": "a-bucket"}
    own.deploy(assembly, steps.append)
    assert steps == ["bootstrapping the CDK", "deploying the stack", "deploying the stack"]


@pytest.mark.emulator
@pytest.mark.skipif(not CDK.exists(), reason="the cdk command line is not installed: make setup")
def test_deployment_that_fails_says_what_the_tool_said(own: LocalCloud, assembly: Path) -> None:
    broken = {"Resources": {"Parameter": {"Type": "AWS::SSM::Parameter", "Properties": {"Name": "/aws/no"}}}}
    (assembly / "Tiny.json").write_text(json.dumps(broken | {"Outputs": {"O": {"Value": {"Ref": "Nowhere"}}}}))
    with pytest.raises(DeploymentFailed, match="cdk deploy` ended with 1") as failed:
        own.deploy(assembly)
    assert "Tiny" in str(failed.value)


@pytest.mark.emulator
def test_command_line_status_env_and_down(state_folder: Path) -> None:
    detached = LocalCloud(state_folder)
    detached.start(detached=True)
    assert command(state_folder, "status").stdout.startswith("running at http://127.0.0.1:")
    assert command(state_folder, "up").stderr.startswith("local up: ")
    lines = command(state_folder, "env").stdout.splitlines()
    assert f"export AWS_ENDPOINT_URL={detached.credentials()['AWS_ENDPOINT_URL']}" in lines
    assert all(line.startswith("export ") for line in lines)
    assert "is down" in command(state_folder, "down").stdout
    assert detached.left_over() == []
    assert command(state_folder, "env").returncode == 1
    assert "no cloud runs here" in command(state_folder, "env").stderr


def test_missing_cdk_names_the_make_target(state_folder: Path, assembly: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deployment, "CDK", REPOSITORY / "node_modules" / ".bin" / "no-such-cdk")
    with pytest.raises(DeploymentFailed, match="make setup"):
        deployment.deploy(StateFolder(state_folder), {}, assembly, print)


def test_fault_without_a_cloud_says_so(state_folder: Path) -> None:
    with pytest.raises(FaultRefused, match="expected a running cloud"):
        Faults(state_folder).hang("i-0123456789abcdef0")


def test_server_that_cannot_start_shows_its_log(state_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud_module, "free_port", lambda: 70000)
    with pytest.raises(CloudError, match="did not come up"):
        LocalCloud(state_folder).start()
