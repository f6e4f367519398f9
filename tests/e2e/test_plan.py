"""What `plan` finds on an embedded cloud that enforces IAM, and its remedies, pasted. Runs with pytest."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.e2e.conftest import REPOSITORY
from tests.e2e.runner import Runner

pytestmark = [pytest.mark.emulator, pytest.mark.slow]
USER = "planner"
MAY_ASK = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["iam:SimulatePrincipalPolicy", "cloudformation:DescribeStacks"],
            "Resource": "*",
        }
    ],
}


def plan(runner: Runner, request: dict[str, Any], **variables: str) -> tuple[int, str]:
    """Return the exit code and what `python -m cli plan` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", "plan", json.dumps(request)],
        env={**runner.environment, "PYTHONPATH": str(REPOSITORY), **variables},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def line(shown: str, name: str) -> str:
    """Return what is shown of a need, with the remedy below it if there is one."""
    lines = shown.splitlines()
    start = next(i for i, one in enumerate(lines) if one[13:].startswith(name))
    return "\n".join(lines[start : start + 2])


def paste(runner: Runner, shown: str, name: str) -> None:
    """Run the remedy of a need in a shell, as a person would."""
    command = line(shown, name).splitlines()[1].strip()
    path = f"{REPOSITORY / '.venv' / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    subprocess.run(
        ["bash", "-c", command], env={**runner.environment, "PATH": path}, cwd=REPOSITORY, check=True, timeout=120
    )


def test_a_request_with_all_it_needs_is_ready(runner: Runner) -> None:
    code, shown = plan(runner, {"models": ["AutoETS", "ChronosZeroShot"]})

    assert code == 0, shown
    assert "MISSING" not in shown
    assert "not known" not in shown
    assert "Start it with:\n  aws stepfunctions start-execution" in shown


def test_missing_weights_are_staged_by_pasting_the_remedy(runner: Runner) -> None:
    request = {"models": ["ChronosZeroShot"], "chronos_weights": "staged-by-plan"}
    code, shown = plan(runner, request)
    assert (code, "MISSING" in line(shown, "model weights")) == (1, True), shown

    paste(runner, shown, "model weights")

    code, shown = plan(runner, request)
    assert code == 0, shown


def test_a_caller_learns_what_it_may_not_do_and_what_grants_it(runner: Runner) -> None:
    iam = runner.client("iam")
    iam.create_user(UserName=USER)
    iam.put_user_policy(UserName=USER, PolicyName="may-ask", PolicyDocument=json.dumps(MAY_ASK))
    key = iam.create_access_key(UserName=USER)["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}

    code, shown = plan(runner, {"models": ["AutoETS"]}, **keys)

    assert code == 1, shown
    assert "states:StartExecution" in line(shown, "your permissions")
    assert "not known" in line(shown, "data set"), shown

    paste(runner, shown, "your permissions")

    code, shown = plan(runner, {"models": ["AutoETS"]}, **keys)
    assert code == 0, shown
    assert "may start, follow and stop runs" in line(shown, "your permissions")
    assert "  ok " in line(shown, "data set")
    iam.delete_access_key(UserName=USER, AccessKeyId=key["AccessKeyId"])
