"""The benchmark table: bounds, rows measured again, and the page they go into."""

import json
from pathlib import Path

import pytest

from benchmarks import suite
from benchmarks.rows import row


def test_a_row_says_whether_its_bound_holds() -> None:
    assert row("speed", 0.9512, 0.95) == {"name": "speed", "value": 0.951, "reach": ">= 0.95", "holds": True}
    assert row("speed", 0.94, 0.95)["holds"] is False
    assert row("memory", 1.3, 1.25, at_most=True) == {
        "name": "memory", "value": 1.3, "reach": "<= 1.25", "holds": False,
    }  # fmt: skip


def test_rows_measured_again_take_their_old_place() -> None:
    old = [row("a", 1, 1), row("b", 1, 1)]
    assert [one["name"] for one in suite.merged(old, [row("c", 1, 1), row("a", 2, 1)])] == ["a", "b", "c"]
    assert suite.merged(old, [row("a", 2, 1)])[0]["value"] == 2


def test_the_page_and_the_results_hold_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{suite.BEGIN}\nold\n{suite.END}\nafter\n")
    monkeypatch.setattr(suite, "PAGE", page)
    monkeypatch.setattr(suite, "RESULTS", tmp_path / "results.json")
    suite.write([row("speed", 2, 1), row("memory", 2, 1, at_most=True)], ["storage"])
    assert "| speed | 2 | >= 1 | yes |" in page.read_text()
    assert "| memory | 2 | <= 1 | **no** |" in page.read_text()
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("\nafter\n")
    assert "old" not in page.read_text()
    assert len(json.loads((tmp_path / "results.json").read_text())) == 2


def test_the_recorded_results_are_those_of_the_page() -> None:
    rows = json.loads(suite.RESULTS.read_text())
    assert rows
    assert suite.table(rows) in suite.PAGE.read_text()
    assert all(set(one) == {"name", "value", "reach", "holds"} for one in rows)


def test_an_unknown_measurement_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        suite.main(["pipelines"])
    assert "expected some of pipeline" in capsys.readouterr().err
