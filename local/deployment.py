"""Deploys the real stack into an embedded cloud with the real CDK command line. Runs on a person's machine."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

from local.state_folder import StateFolder, read_json

REPOSITORY = Path(__file__).resolve().parent.parent
CDK = REPOSITORY / "node_modules" / ".bin" / "cdk"
BOOTSTRAP_STACK = "CDKToolkit"
LAST_LINES = 40
# A deployment to one's own computer tells and asks nobody.
QUIET = {"CDK_DISABLE_CLI_TELEMETRY": "true", "CDK_DISABLE_VERSION_CHECK": "1"}
Progress = Callable[[str], None]


class DeploymentFailed(RuntimeError):
    """The stack could not be synthesized or deployed; the message ends with what the tool said."""


def deploy(folder: StateFolder, environment: dict[str, str], assembly: Path | None, progress: Progress) -> None:
    """Synthesize (unless given an assembly), bootstrap (once) and deploy every stack.

    Parameters
    ----------
    folder : StateFolder
        Gets the assembly and the stack outputs.
    environment : dict
        Variables that point the tools at the embedded cloud.
    assembly : Path or None
        An already synthesized cloud assembly.
    progress : callable
        Gets one line at each step.

    Raises
    ------
    DeploymentFailed
        When a tool is missing or fails.
    """
    if not CDK.exists():
        raise DeploymentFailed(f"cdk: expected {CDK.relative_to(REPOSITORY)}, found none. Run `make setup` first.")
    variables = _variables(environment)
    if assembly is None:
        progress("synthesizing the stack")
        assembly = folder.assembly
        synthesis = variables | {"CDK_OUTDIR": str(assembly)}
        _run([sys.executable, "app.py"], synthesis, "the stack could not be synthesized")
    if not _bootstrapped(environment):
        progress("bootstrapping the CDK")
        account = client(environment, "sts").get_caller_identity()["Account"]
        target = f"aws://{account}/{environment['AWS_DEFAULT_REGION']}"
        _run(
            [str(CDK), "bootstrap", target, "--app", str(assembly), "--no-notices"],
            variables,
            "the CDK could not be bootstrapped",
        )
    progress("deploying the stack")
    command = [str(CDK), "deploy", "--all", "--app", str(assembly), "--require-approval", "never", "--no-notices"]
    _run([*command, "--outputs-file", str(folder.outputs)], variables, "the stack could not be deployed")


def destroy(folder: StateFolder, environment: dict[str, str]) -> None:
    """Delete every stack that was deployed from the folder's assembly, as `cdk destroy` does.

    Raises
    ------
    DeploymentFailed
        When the tool fails.
    """
    command = [str(CDK), "destroy", "--all", "--force", "--app", str(folder.assembly), "--no-notices"]
    _run(command, _variables(environment), "the stack could not be deleted")


def outputs(folder: StateFolder) -> dict[str, str]:
    """Return the outputs of all deployed stacks, empty when nothing is deployed."""
    return {name: str(value) for stack in read_json(folder.outputs).values() for name, value in stack.items()}


def client(environment: dict[str, str], service: str) -> Any:
    """Return a boto3 client of the embedded cloud, whatever the person's own AWS settings are."""
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token="",
    )


def _bootstrapped(environment: dict[str, str]) -> bool:
    try:
        client(environment, "cloudformation").describe_stacks(StackName=BOOTSTRAP_STACK)
    except ClientError:
        return False
    return True


def _variables(environment: dict[str, str]) -> dict[str, str]:
    # Left in, a profile of the person would win over the credentials, and a pinned account would miss the cloud's.
    own = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_DEFAULT_"))}
    return own | environment | {"JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1", "CI": "1", **QUIET}


def _run(command: list[str], environment: dict[str, str], failure: str) -> None:
    result = subprocess.run(  # noqa: S603 - the repository's own tools
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if result.returncode:
        said = "\n".join((result.stdout + result.stderr).strip().splitlines()[-LAST_LINES:])
        tool = f"{Path(command[0]).name} {command[1]}"
        raise DeploymentFailed(f"{failure}: `{tool}` ended with {result.returncode}:\n{said}")
