"""Deleting the stack during a run, with the real cdk CLI, on an embedded cloud of its own. Runs with pytest."""

import subprocess
from pathlib import Path

import boto3
import pytest

from local import deployment
from local.cloud import LocalCloud
from tests.e2e.conftest import fill, recorded
from tests.e2e.runner import Runner

pytestmark = [pytest.mark.emulator, pytest.mark.slow]


def refused(cloud: LocalCloud) -> list[str]:
    """Return who was refused a call so far."""
    return [check["principal"] for check in recorded(cloud) if not check["allowed"]]


def test_deleting_the_stack_ends_its_runs_and_keeps_what_was_paid_for(
    tmp_path: Path, long_run: dict[str, object]
) -> None:
    cloud = LocalCloud(tmp_path / "cloud")
    cloud.start(enforce_iam=True)
    try:
        cloud.deploy()
        runner = Runner(cloud)
        fill(runner)
        arn = runner.start(long_run)
        record = runner.training(arn)
        assert refused(cloud) == []
        destroyed = subprocess.run(
            [deployment.CDK, "destroy", "--all", "--force", "--app", cloud.folder.assembly],
            cwd=deployment.REPOSITORY,
            env={**deployment._variables(cloud.credentials())},
            capture_output=True,
            text=True,
            check=False,
        )

        assert destroyed.returncode == 0, destroyed.stderr
        assert runner.living_instances(record.run_id) == []
        cloudformation: boto3.client = runner.client("cloudformation")
        stacks = [
            s["StackName"]
            for s in cloudformation.list_stacks()["StackSummaries"]
            if s["StackStatus"] != "DELETE_COMPLETE"
        ]
        assert "ChronosTraining" not in stacks
        assert "manifest.json" in runner.paths(record)
        assert runner.record_of(arn) is not None
        # A late event may still start a function whose policy CloudFormation has deleted; draining is another matter.
        assert [principal for principal in refused(cloud) if "DrainStack" in principal] == []
    finally:
        cloud.stop()
