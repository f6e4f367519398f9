"""The synthesized stack, and a way to fill in what CloudFormation would. Runs under pytest, offline."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
ACCOUNT, REGION = "123456789012", "us-east-1"
BUCKET = "chronostraining-storagebucket-example"
BUCKET_ARN = f"arn:aws:s3:::{BUCKET}"
TABLE_ARN = f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/runs"
_ARNS = {"AWS::S3::Bucket": BUCKET_ARN, "AWS::DynamoDB::Table": TABLE_ARN}
_PSEUDO = {"AWS::AccountId": ACCOUNT, "AWS::Region": REGION, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}


@dataclass(frozen=True)
class Stack:
    """A template and the folder it was written to."""

    template: dict[str, Any]
    folder: Path

    def of_type(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the resources of a type by logical id."""
        return {name: r for name, r in self.template["Resources"].items() if r["Type"] == kind}

    def only(self, kind: str) -> dict[str, Any]:
        """Return the properties of the one resource of a type."""
        ((_, resource),) = self.of_type(kind).items()
        return dict(resource["Properties"])

    def named(self, kind: str, part: str) -> dict[str, Any]:
        """Return the one resource of a type whose logical id holds `part`."""
        (found,) = [r for name, r in self.of_type(kind).items() if part in name]
        return found

    def fill(self, value: Any) -> Any:
        """Return `value` with intrinsic functions answered as a deployment in an example account would."""
        if isinstance(value, list):
            return [self.fill(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            if function == "Ref":
                return _PSEUDO.get(argument) or self._physical(argument)
            if function == "Fn::GetAtt":
                if argument[1] == "Arn" and (known := _ARNS.get(self._kind(argument[0]))):
                    return known
                return f"{self._physical(argument[0])}.{argument[1]}"
            if function == "Fn::Join":
                return argument[0].join(str(self.fill(entry)) for entry in argument[1])
            if function == "Fn::Sub":
                for name, filled in _PSEUDO.items():
                    argument = argument.replace(f"${{{name}}}", filled)
                return argument
        return {key: self.fill(entry) for key, entry in value.items()}

    def _physical(self, logical_id: str) -> str:
        return BUCKET if self._kind(logical_id) == "AWS::S3::Bucket" else logical_id

    def _kind(self, logical_id: str) -> str:
        return str(self.template["Resources"].get(logical_id, {}).get("Type", ""))


def _offline_environment(folder: Path) -> dict[str, str]:
    """Return an environment without AWS credentials, in which any proxy-minded client finds no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))}
    dead = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    return {
        **kept, **dead, "CDK_OUTDIR": str(folder), "HOME": str(folder / "home"), "AWS_EC2_METADATA_DISABLED": "true",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "1",
    }  # fmt: skip


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """Synthesize the app once, as the cdk CLI would without an account."""
    folder = tmp_path_factory.mktemp("cdk.out")
    subprocess.run(
        [sys.executable, "app.py"], cwd=ROOT, env=_offline_environment(folder), check=True, timeout=240,
        capture_output=True,
    )  # fmt: skip
    return Stack(json.loads((folder / "ChronosTraining.template.json").read_text()), folder)


@pytest.fixture(scope="session")
def definition(stack: Stack) -> dict[str, Any]:
    """Return the state machine's definition with its substitutions filled in."""
    machine = stack.only("AWS::StepFunctions::StateMachine")
    text = machine["DefinitionString"]
    for name in machine["DefinitionSubstitutions"]:
        seconds = str(machine["DefinitionSubstitutions"][name])
        arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name.removesuffix('Arn')}"
        text = text.replace(f"${{{name}}}", arn if name.endswith("Arn") else seconds)
    return dict(json.loads(text))
