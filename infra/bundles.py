"""Lay out what is uploaded: the Lambda bundle and the instance's code. Runs at synthesis, without Docker or network."""

import atexit
import shutil
import tempfile
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).parent.parent

# All pure Python; boto3 comes with the Lambda runtime.
_DISTRIBUTIONS = ("aws-lambda-powertools", "jmespath", "typing_extensions", "fastjsonschema")
# Parts of Powertools that no function imports, and the few among them that Logger and Metrics do.
_UNUSED = ("aws_lambda_powertools/event_handler", "aws_lambda_powertools/utilities/")
_USED = tuple(f"aws_lambda_powertools/utilities/{name}" for name in ("__init__", "jmespath_utils", "typing"))
_SOURCES = (".py", ".json", ".sh", ".txt", ".lock")


def lambda_bundle() -> Path:
    """Return the folder of the one bundle that all functions share."""
    folder = _fresh()
    for package in ("lambdas", "contracts"):
        _copy(ROOT / package, folder / package)
    for name in _DISTRIBUTIONS:
        _copy_distribution(name, folder)
    return folder


def instance_bundle() -> Path:
    """Return the folder of the code that an instance fetches."""
    folder = _fresh()
    for package in ("instance", "contracts"):
        _copy(ROOT / package, folder / package)
    return folder


def _fresh() -> Path:
    """Return an empty folder of this synthesis alone: two may run at once, and the CDK copies what it stages."""
    folder = Path(tempfile.mkdtemp(prefix="chronos-bundle-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _copy(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file() and path.suffix in _SOURCES:
            _copy_file(path, target / path.relative_to(source))


def _copy_distribution(distribution_name: str, folder: Path) -> None:
    for file in distribution(distribution_name).files or []:
        name = str(file)
        unused = name.startswith(_UNUSED) and not name.startswith(_USED)
        if file.suffix == ".py" and ".." not in file.parts and not unused:
            _copy_file(Path(str(file.locate())), folder / name)


def _copy_file(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
