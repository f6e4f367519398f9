"""The previous release, importable beside the current one as previous_lambdas and previous_contracts. For pytest."""

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

ARCHIVE = Path(__file__).parent / "release.zip"
PACKAGES = ("lambdas", "contracts")
PREFIX = "previous_"
_DEFINITION = "statemachine/training.asl.json"
_IMPORT = re.compile(rf"^(\s*(?:from|import) )({'|'.join(PACKAGES)})\b", re.MULTILINE)


def unpack(folder: Path) -> None:
    """Unpack the previous release into a folder, its packages under their new names, and let them be imported."""
    with ZipFile(ARCHIVE) as archive:
        for name in archive.namelist():
            package, _, rest = name.partition("/")
            if package in PACKAGES and rest and not name.endswith("/"):
                target = folder / f"{PREFIX}{package}" / rest
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(_renamed(archive.read(name)) if name.endswith(".py") else archive.read(name))
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def module(name: str) -> ModuleType:
    """Return a module of the previous release by its name of then, such as `lambdas.core.waiting`."""
    return importlib.import_module(PREFIX + name)


def definition_text() -> str:
    """Return the definition of the previous release's state machine, with its placeholders."""
    with ZipFile(ARCHIVE) as archive:
        return archive.read(_DEFINITION).decode()


def _renamed(source: bytes) -> bytes:
    return _IMPORT.sub(rf"\1{PREFIX}\2", source.decode()).encode()
