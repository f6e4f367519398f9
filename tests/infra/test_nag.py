"""cdk-nag's AwsSolutions rules: no finding without a reason beside the resource. Runs under pytest, offline."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from infra.permissions import WILDCARDS
from tests.infra.conftest import ROOT, _offline_environment

WILDCARD_RULE = "AwsSolutions-IAM5["
# The plugin fails the synthesis when it finds anything, which it always does: wildcards are judged below.
NAGGED = """
import contextlib, json
import aws_cdk as cdk
from cdk_nag import AwsSolutionsChecks
from infra.config import config_from_context
from infra.stack import TrainingStack

app = cdk.App(context=json.load(open("cdk.json"))["context"])
TrainingStack(app, config_from_context(app.node.get_all_context()))
cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
with contextlib.suppress(RuntimeError):
    app.synth()
"""


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, list[str]]]:
    """Return (rule, paths of the constructs) of every finding that is not acknowledged."""
    folder = tmp_path_factory.mktemp("nagged")
    environment = {**_offline_environment(folder), "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [sys.executable, "-c", NAGGED], cwd=ROOT, env=environment, check=True, timeout=240, capture_output=True
    )
    (report,) = json.loads((Path(folder) / "validation-report.json").read_text())["pluginReports"]
    return [
        (found["ruleName"], [construct["constructPath"] for construct in found["violatingConstructs"]])
        for found in report["violations"]
    ]


def _resource(rule: str) -> str:
    """Return what a wildcard finding names, without the ARN before it."""
    return rule.removeprefix(WILDCARD_RULE + "Resource::").removesuffix("]").rpartition(">")[2].lstrip(":/")


def test_no_rule_is_broken_without_a_reason_beside_the_resource(findings):
    assert [found for found in findings if not found[0].startswith(WILDCARD_RULE)] == []


def test_every_wildcard_has_its_reason_and_every_reason_its_wildcard(findings):
    wildcards = {_resource(rule) for rule, _ in findings if rule.startswith(WILDCARD_RULE)}

    assert wildcards == set(WILDCARDS)
    assert all(WILDCARDS.values())
