"""Who may import whom: the dependencies point one way. Reads the source, runs none of it. Runs under pytest."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OURS = {
    "app", "benchmarks", "chaos", "cli", "contracts", "infra", "instance", "lambdas", "local", "pretraining", "scripts",
    "tests",
}  # fmt: skip
# What lies beside the code: in the Lambda bundle and runtime, or installed on the instance.
LAMBDA_PACKAGES = {"boto3", "botocore", "urllib3", "aws_lambda_powertools", "fastjsonschema"}
CONTRACT_PACKAGES = {"fastjsonschema"}


def imports_of(path):
    """Return the modules that a source file imports, those inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def packages_of(folder, pattern="**/*.py"):
    """Return {top-level package: files that import it} of what is not in the standard library."""
    found = {}
    for path in sorted((ROOT / folder).glob(pattern)):
        for name in imports_of(path):
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names:
                found.setdefault(top, set()).add(str(path.relative_to(ROOT)))
    return found


def test_contracts_depend_on_nothing_of_ours():
    assert set(packages_of("contracts")) <= CONTRACT_PACKAGES | {"contracts"}


def test_lambdas_share_only_contracts_and_need_only_what_is_in_their_bundle():
    assert set(packages_of("lambdas")) <= LAMBDA_PACKAGES | {"contracts", "lambdas"}


def test_the_instance_shares_only_contracts():
    assert set(packages_of("instance")) & OURS <= {"contracts", "instance"}


def test_the_instance_imports_only_what_its_requirements_name():
    lines = (ROOT / "instance" / "requirements.txt").read_text().splitlines()
    names = {
        line.split("==")[0].split(">=")[0].split("[")[0].strip().lower() for line in lines if line and line[0] != "#"
    }
    modules = {name.replace("-", "_") for name in names} | {"chronos" if "chronos-forecasting" in names else ""}
    # boto3 brings botocore, statsforecast brings utilsforecast, chronos brings transformers and safetensors.
    brought = {"botocore", "utilsforecast", "transformers", "safetensors", "numpy", "pandas", "torch"}

    assert set(packages_of("instance")) - OURS <= modules | brought


@pytest.mark.parametrize("folder", ["contracts", "lambdas", "instance", "infra", "scripts", "benchmarks", "cli"])
def test_nothing_imports_the_embedded_cloud(folder):
    allowed = {"scripts", "benchmarks"}  # The demo starts the embedded cloud: that is its purpose.
    importers = packages_of(folder).get("local", set())

    assert not importers or folder in allowed


def test_infra_imports_no_code_that_it_deploys():
    assert set(packages_of("infra")) & OURS <= {"contracts", "infra"}


def test_the_core_is_pure():
    forbidden = {"boto3", "botocore", "urllib3", "aws_lambda_powertools"}
    clocks = ("time", "os", "random", "uuid", "subprocess", "socket")
    for path in sorted((ROOT / "lambdas" / "core").glob("*.py")):
        names = imports_of(path)
        assert not {name.split(".")[0] for name in names} & forbidden, path
        assert not names & set(clocks), path
        assert not {name for name in names if name.startswith(("lambdas.adapters", "lambdas.flows"))}, path
        assert "datetime.now" not in path.read_text(), path


def test_adapters_know_neither_flows_nor_handlers():
    for path in sorted((ROOT / "lambdas" / "adapters").glob("*.py")):
        ours = {name for name in imports_of(path) if name.startswith("lambdas.")}
        assert all(name.startswith(("lambdas.adapters", "lambdas.core")) for name in ours), path


def test_the_environment_is_read_in_one_place():
    readers = [
        path.name
        for path in sorted((ROOT / "lambdas").rglob("*.py"))
        if "os" in imports_of(path) or "environ" in path.read_text()
    ]

    assert readers == ["settings.py"]
