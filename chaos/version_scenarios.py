"""An update and a rollback while a run is under way: the functions get another release's code. Runs in a worker."""

import io
import json
import urllib.request
import zipfile
from typing import Any

from chaos.arena import LONG, Arena
from chaos.begun import Begun
from chaos.cases import Case
from chaos.starts import in_training
from contracts import layout
from local.deployment import REPOSITORY

# What the previous release deployed.
PREVIOUS = REPOSITORY / "tests" / "previous_release" / "release.zip"
FOLDERS = ("lambdas", "contracts")
DEFINITION = "statemachine/training.asl.json"


def versions(arena: Arena, case: Case) -> Begun:
    """Let the run begin with one release and go on with the other; the deployed release is put back by `restore`.

    A running execution keeps its definition: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-cloudformation.html
    """
    update = case.fault["do"] == "update"
    new = _deployed(arena)
    old = _previous(arena, new)
    if update:
        _define(arena, _previous_definition(arena))
        _put(arena, old)
    arn, _ = in_training(arena, LONG)
    _put(arena, new if update else old)
    return Begun(arn, lambda: True)


def restore(arena: Arena, kept: tuple[dict[str, bytes], str]) -> None:
    """Put back the release that `keep` returned."""
    code, definition = kept
    _put(arena, code)
    _define(arena, definition)


def keep(arena: Arena) -> tuple[dict[str, bytes], str]:
    """Return the code of the functions and the definition of the state machine as they are."""
    return _deployed(arena), _definition(arena)


def _deployed(arena: Arena) -> dict[str, bytes]:
    """Return the bundle of each of the controller's functions."""
    found, bundles = {}, {}
    functions = arena.client("lambda")
    for page in functions.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            if str(function["Handler"]).startswith("lambdas."):
                digest = function["CodeSha256"]
                if digest not in bundles:
                    where = functions.get_function(FunctionName=function["FunctionName"])["Code"]["Location"]
                    with urllib.request.urlopen(where, timeout=30) as answer:  # noqa: S310 - our own cloud
                        bundles[digest] = answer.read()
                found[str(function["FunctionName"])] = bundles[digest]
    return found


def _previous(arena: Arena, deployed: dict[str, bytes]) -> dict[str, bytes]:
    """Return the previous release's bundle for each function that it had."""
    functions, bundles, found = arena.client("lambda"), {}, {}
    with zipfile.ZipFile(PREVIOUS) as release:
        for name, code in deployed.items():
            handler = str(functions.get_function_configuration(FunctionName=name)["Handler"])
            if handler.rpartition(".")[0].replace(".", "/") + ".py" in release.namelist():
                if code not in bundles:
                    bundles[code] = _bundle(code, release)
                found[name] = bundles[code]
    return found


def _bundle(code: bytes, release: zipfile.ZipFile) -> bytes:
    """Return a bundle with the code of another release; the libraries are the same, by the lock."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(code)) as given, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as bundle:
        for source, ours in ((given, False), (release, True)):
            for name in source.namelist():
                if (name.partition("/")[0] in FOLDERS) is ours and not name.endswith("/"):
                    bundle.writestr(name, source.read(name))
    return made.getvalue()


def _put(arena: Arena, bundles: dict[str, bytes]) -> None:
    for name, code in bundles.items():
        arena.client("lambda").update_function_code(FunctionName=name, ZipFile=code)


def _define(arena: Arena, definition: str) -> None:
    machine = arena.environment["STATE_MACHINE_ARN"]
    arena.client("stepfunctions").update_state_machine(stateMachineArn=machine, definition=definition)


def _definition(arena: Arena) -> str:
    machine = arena.environment["STATE_MACHINE_ARN"]
    return str(arena.client("stepfunctions").describe_state_machine(stateMachineArn=machine)["definition"])


def _previous_definition(arena: Arena) -> str:
    with zipfile.ZipFile(PREVIOUS) as release:
        text = release.read(DEFINITION).decode()
    current: dict[str, Any] = json.loads(_definition(arena))
    values = {
        "RunsAddress": f"s3://{arena.bucket}/{layout.RUNS}",
        "ExecutionTimeoutSeconds": str(current["TimeoutSeconds"]),
    }
    functions = arena.client("lambda")
    for page in functions.get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            called = function.get("Environment", {}).get("Variables", {}).get("AWS_SDK_UA_APP_ID", "")
            values[f"{called}Arn"] = function["FunctionArn"]
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value)
    return text
