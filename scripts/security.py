"""checkov on the template, and known weaknesses of the locked packages. Runs on a person's machine (make security)."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv-security"
REQUIREMENTS = ROOT / "scripts" / "security-requirements.txt"
LOCKS = ("requirements.lock", "instance/requirements.lock")
SEVERE = "moderate"


def main() -> int:
    """Run every check; returns 1 when one found something. What could not be asked is said, and is no finding."""
    _install()
    found = [_template(), *(_packages(lock) for lock in LOCKS), _node_packages()]
    return 1 if any(found) else 0


def _install() -> None:
    marker = ENVIRONMENT / "installed.txt"
    if marker.exists() and marker.read_text() == REQUIREMENTS.read_text():
        return
    print("security: installing checkov and pip-audit into .venv-security", flush=True)
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    pip: list[str | Path] = [ENVIRONMENT / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, "-r", REQUIREMENTS])
    marker.write_text(REQUIREMENTS.read_text())


def _template() -> bool:
    """Return whether checkov found anything in the synthesized template."""
    with tempfile.TemporaryDirectory() as folder:
        _run([sys.executable, "app.py"], CDK_OUTDIR=folder)
        template = Path(folder) / "ChronosTraining.template.json"
        checkov: list[str | Path] = [
            ENVIRONMENT / "bin" / "checkov",
            "--config-file",
            ".checkov.yaml",
            "-f",
            template,
            "-o",
            "json",
        ]
        report = json.loads(_run(checkov, may_fail=True))
    failed = report["results"]["failed_checks"]
    print(f"checkov: {report['summary']['passed']} checks passed, {len(failed)} failed")
    for check in failed:
        print(f"  {check['check_id']} {check['resource']}: {check['check_name']}")
    return bool(failed)


def _packages(lock: str) -> bool:
    """Return whether a locked Python package has a known weakness."""
    audit: list[str | Path] = [
        ENVIRONMENT / "bin" / "pip-audit",
        "-r",
        lock,
        "--no-deps",
        "--disable-pip",
        "-f",
        "json",
    ]
    said = _run(audit, may_fail=True)
    packages = json.loads(said)["dependencies"] if said.startswith("{") else []
    asked = [package for package in packages if "skip_reason" not in package]
    weak = [package for package in asked if package["vulns"]]
    told = f"{len(asked)} of {len(packages)} packages audited, {len(weak)} with known weaknesses"
    print(f"pip-audit, {lock}: " + (told if asked else "NOT AUDITED, its data could not be reached from here"))
    for package in weak:
        ids = ", ".join(
            f"{v['id']} (fixed in {', '.join(v['fix_versions']) or 'no version'})" for v in package["vulns"]
        )
        print(f"  {package['name']} {package['version']}: {ids}")
    return bool(weak)


def _node_packages() -> bool:
    """Return whether a locked npm package has a known weakness."""
    report = json.loads(_run(["npm", "audit", "--json", f"--audit-level={SEVERE}"], may_fail=True) or "{}")
    counts = report.get("metadata", {}).get("vulnerabilities")
    if counts is None:
        print("npm audit: NOT AUDITED, its data could not be reached from here")
        return False
    print(f"npm audit: {counts['total']} known weaknesses")
    return bool(counts["total"])


def _run(command: Sequence[str | Path], *, may_fail: bool = False, **variables: str) -> str:
    done = subprocess.run(  # noqa: S603 - the repository's own tools
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode and not may_fail:
        raise SystemExit(f"security: `{command[0]}` failed:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
