"""make security: what its tools find fails it, what they could not ask is said. Runs under pytest, offline."""

import json
from typing import Any

import pytest

from scripts import security


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sets what the next tool prints."""

    def answer(text: object) -> None:
        printed = text if isinstance(text, str) else json.dumps(text)
        monkeypatch.setattr(security, "_run", lambda *_, **__: printed)

    return answer


def test_a_package_with_a_known_weakness_is_a_finding(answers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    weak = {"name": "old", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}
    answers({"dependencies": [weak, {"name": "new", "version": "2.0", "vulns": []}]})

    assert security._packages("requirements.lock")
    assert "2 of 2 packages audited, 1 with known weaknesses" in capsys.readouterr().out


@pytest.mark.parametrize("printed", ["", {"dependencies": [{"name": "a", "skip_reason": "not found"}]}])
def test_packages_that_could_not_be_looked_up_are_not_called_sound(
    answers: Any, capsys: pytest.CaptureFixture[str], printed: object
) -> None:
    answers(printed)

    assert not security._packages("requirements.lock")
    assert "NOT AUDITED" in capsys.readouterr().out


def test_npm_s_findings_count_and_its_silence_is_said(answers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    answers({"metadata": {"vulnerabilities": {"total": 1}}})
    assert security._node_packages()
    answers({"message": "405 Method Not Allowed"})
    assert not security._node_packages()
    assert "NOT AUDITED" in capsys.readouterr().out


def test_a_rule_that_the_template_breaks_is_a_finding(answers: Any, capsys: pytest.CaptureFixture[str]) -> None:
    broken = {"check_id": "CKV_1", "resource": "AWS::S3::Bucket.B", "check_name": "why"}
    answers({"summary": {"passed": 3}, "results": {"failed_checks": [broken]}})

    assert security._template()
    assert "CKV_1 AWS::S3::Bucket.B: why" in capsys.readouterr().out


def test_every_rule_that_is_skipped_has_its_reason() -> None:
    lines = (security.ROOT / ".checkov.yaml").read_text().splitlines()
    skipped = [line for line in lines if "CKV" in line]

    assert skipped
    assert all(len(line.partition("# ")[2]) > 20 for line in skipped)
