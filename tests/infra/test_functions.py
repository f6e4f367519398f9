"""The functions: runtime, size, and that the bundle works with boto3 alone beside it. Runs under pytest, offline."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lambdas.adapters.clients import CONNECT_SECONDS, READ_SECONDS
from lambdas.adapters.compute import LAUNCH_TRIES, PRICE_SECONDS, PRICE_TRIES
from lambdas.core.inventory import LAUNCH_IN_FLIGHT_SECONDS
from lambdas.flows.accepting import RESERVING_SECONDS
from lambdas.flows.launching import ENDING_SECONDS, WALK_SECONDS
from lambdas.flows.staged import CHECKED_SECONDS

HANDLERS = (
    "accept_run", "launch_instance", "await_training", "collect_outcome", "cleanup", "record_run", "sweep_run",
    "observe_state", "observe_instance", "start_from_upload", "note_lost_upload", "drain_stack", "rearm_sweep",
)  # fmt: skip


@pytest.fixture(scope="module")
def bundle(stack):
    """Return the folder of the functions' one asset."""
    (key,) = {f["Properties"]["Code"]["S3Key"] for f in stack.of_type("AWS::Lambda::Function").values()}
    return stack.folder / f"asset.{key.removesuffix('.zip')}"


def test_every_handler_has_one_function_named_after_it(stack):
    handlers = sorted(f["Properties"]["Handler"] for f in stack.of_type("AWS::Lambda::Function").values())

    assert handlers == sorted(f"lambdas.{name}.handler" for name in HANDLERS)


def test_every_function_runs_python_3_13_on_arm_without_a_vpc(stack):
    for name, function in stack.of_type("AWS::Lambda::Function").items():
        properties = function["Properties"]
        assert properties["Runtime"] == "python3.13", name
        assert properties["Architectures"] == ["arm64"], name
        assert "VpcConfig" not in properties, name


def test_every_function_logs_to_a_group_that_forgets(stack):
    groups = stack.of_type("AWS::Logs::LogGroup")
    for name, function in stack.of_type("AWS::Lambda::Function").items():
        group = groups[function["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]]
        assert group["Properties"]["RetentionInDays"] == 14, name
        assert group["DeletionPolicy"] == "Delete", name


def test_every_function_has_a_role_of_its_own(stack):
    functions = stack.of_type("AWS::Lambda::Function").values()
    roles = [json.dumps(f["Properties"]["Role"]) for f in functions]

    assert len(set(roles)) == len(roles)


def test_the_function_that_reads_data_files_has_a_larger_share_of_a_core(stack):
    memory = {name: f["Properties"]["MemorySize"] for name, f in stack.of_type("AWS::Lambda::Function").items()}

    assert {size for name, size in memory.items() if "AcceptRun" not in name} == {256}
    # A whole core comes with 1,769 MiB; a valid data set may take half a minute of one.
    assert stack.named("AWS::Lambda::Function", "FunctionsAcceptRun")["Properties"]["MemorySize"] >= 1024


def test_accept_run_has_the_time_that_it_allows_itself(stack):
    function = stack.named("AWS::Lambda::Function", "FunctionsAcceptRun")["Properties"]

    assert function["Timeout"] > CHECKED_SECONDS + RESERVING_SECONDS + READ_SECONDS


def test_an_upload_that_could_not_be_started_is_handed_to_the_function_that_notes_it(stack):
    name, config = next((n, c) for n, c in stack.of_type("AWS::Lambda::EventInvokeConfig").items() if "Upload" in n)
    properties = config["Properties"]

    assert "FunctionsStartFromUpload" in properties["FunctionName"]["Ref"], name
    assert properties["Qualifier"] == "$LATEST"
    assert properties["MaximumRetryAttempts"] == 2
    (receiver, attribute) = properties["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"]
    assert ("FunctionsNoteLostUpload" in receiver, attribute) == (True, "Arn")
    # Lambda looks whether the function's role may call the destination when it is set.
    assert any("StartFromUploadRoleDefaultPolicy" in other for other in config["DependsOn"])


def test_every_setting_that_a_function_is_given_is_one_that_is_read(stack):
    source = (Path(__file__).parent.parent.parent / "lambdas" / "adapters" / "settings.py").read_text()
    for name, function in stack.of_type("AWS::Lambda::Function").items():
        for variable in function["Properties"]["Environment"]["Variables"]:
            read_by_others = variable in ("POWERTOOLS_SERVICE_NAME", "AWS_SDK_UA_APP_ID")
            assert read_by_others or f'"{variable}"' in source, (name, variable)


def test_a_state_s_function_ends_before_its_state_gives_up(stack, definition):
    for state in ("AcceptRun", "CollectOutcome", "Cleanup", "RecordRun"):
        function = stack.named("AWS::Lambda::Function", f"Functions{state}")["Properties"]
        assert function["Timeout"] < definition["States"][state]["TimeoutSeconds"]


def test_cleanup_waits_longer_than_a_call_to_ec2_can_take():
    launch, price = LAUNCH_TRIES * (CONNECT_SECONDS + READ_SECONDS), PRICE_TRIES * 2 * PRICE_SECONDS
    assert launch + price < LAUNCH_IN_FLIGHT_SECONDS / 2


def test_the_launch_function_has_the_time_that_it_allows_itself(stack):
    function = stack.named("AWS::Lambda::Function", "FunctionsLaunchInstance")["Properties"]

    launch, price = LAUNCH_TRIES * (CONNECT_SECONDS + READ_SECONDS), PRICE_TRIES * 2 * PRICE_SECONDS
    assert function["Timeout"] > ENDING_SECONDS + WALK_SECONDS + launch + price


def test_the_bundle_is_pure_python_and_small(bundle, tmp_path):
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".py", ".json"}

    with zipfile.ZipFile(tmp_path / "bundle.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(bundle))

    assert (tmp_path / "bundle.zip").stat().st_size < 1_000_000


def test_the_bundle_holds_no_tests_no_caches_and_nothing_of_the_instance(bundle):
    top = {path.name for path in bundle.iterdir()}

    assert top <= {
        "lambdas",
        "contracts",
        "aws_lambda_powertools",
        "fastjsonschema",
        "jmespath",
        "typing_extensions.py",
    }
    assert not list(bundle.rglob("__pycache__"))


def test_every_handler_is_imported_with_only_boto3_beside_the_bundle(bundle, tmp_path):
    # What the Lambda runtime has: boto3 and what it needs, linked into a folder of their own.
    runtime = tmp_path / "runtime"
    runtime.mkdir()
    for package in ("boto3", "botocore", "s3transfer", "dateutil", "urllib3", "six"):
        found = importlib.util.find_spec(package)
        source = Path(found.origin)
        source = source.parent if source.name == "__init__.py" else source
        (runtime / source.name).symlink_to(source)
    code = (
        "import sys, importlib\n"
        f"for name in {HANDLERS!r}:\n"
        "    assert callable(importlib.import_module(f'lambdas.{name}').handler)\n"
        "print(sys.modules['lambdas'].__file__)"
    )
    # -S leaves out site-packages, -E the environment's paths.
    script = f"import sys; sys.path[1:1] = [{str(bundle)!r}, {str(runtime)!r}]\n{code}"
    ran = subprocess.run(
        [sys.executable, "-S", "-B", "-c", script], cwd=tmp_path, env={"PATH": os.environ["PATH"]},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip().startswith(str(bundle))


def test_the_instance_s_code_is_uploaded_without_the_controller_s(stack):
    assets = json.loads((stack.folder / "ChronosTraining.assets.json").read_text())["files"]
    folders = [
        stack.folder / file["source"]["path"] for file in assets.values() if file["source"]["packaging"] == "zip"
    ]
    (instance,) = [folder for folder in folders if (folder / "instance").is_dir()]

    assert {path.name for path in instance.iterdir()} == {"instance", "contracts"}
    assert (instance / "instance" / "main.py").is_file()
    assert (instance / "contracts" / "run_request.schema.json").is_file()
