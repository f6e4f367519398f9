"""The model card of chronos-bolt-nano says what was measured, with the weights that are there. Runs anywhere."""

import json

import pytest

from benchmarks import model_card
from benchmarks.model_card import BEGIN, CARD, END, RESULTS, WEIGHTS, CardDamagedError, replace_tables, tables
from instance.checksums import file_sha256
from instance.models.chronos_zero_shot import check_folder
from scripts.dataset_sources import DownloadError

FIGURES = {
    "mase": 1.0,
    "wql": 0.02,
    "relative_mase": 0.85,
    "better_than_seasonal_naive": 0.9,
    "better_than_auto_ets": 0.2,
    "failed": 0,
}
MEASURED = {
    "weights_sha256": "0" * 64,
    "packages": {},
    "data_sets": {
        "sample": {
            "series": 10, "n_windows": 2, "horizon": 5, "season_length": 5, "freq": "B", "max_history": 512,
            "models": {"ChronosZeroShot": FIGURES, "SeasonalNaive": FIGURES},
        }
    },
}  # fmt: skip


def test_the_card_holds_the_tables_of_the_recorded_results():
    recorded = json.loads(RESULTS.read_text())

    assert tables(recorded) in CARD.read_text()
    assert set(recorded["data_sets"]) == set(model_card.N_WINDOWS)


def test_the_recorded_results_were_measured_with_the_weights_that_are_there():
    check_folder(WEIGHTS)

    assert json.loads(RESULTS.read_text())["weights_sha256"] == file_sha256(WEIGHTS / "model.safetensors")


def test_a_table_compares_no_model_with_itself():
    rows = tables(MEASURED).splitlines()[-2:]

    assert rows[0] == "| ChronosZeroShot | 1.000 | 0.0200 | 0.850 | 90% | 20% |"
    assert rows[1] == "| SeasonalNaive | 1.000 | 0.0200 | 0.850 |  | 20% |"


def test_replace_tables_keeps_what_is_around_the_markers():
    card = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert replace_tables(card, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    assert replace_tables(replace_tables(card, "new"), "new") == replace_tables(card, "new")


@pytest.mark.parametrize("card", ["", f"{BEGIN} only", f"only {END}", f"{END} the wrong way round {BEGIN}"])
def test_replace_tables_raises_when_a_marker_is_missing(card):
    with pytest.raises(CardDamagedError, match="put both back"):
        replace_tables(card, "new")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    card, recorded = tmp_path / "README.md", tmp_path / "results" / "model_card.json"
    card.write_text(f"{BEGIN}\n{END}\n")
    monkeypatch.setattr(model_card, "CARD", card)
    monkeypatch.setattr(model_card, "RESULTS", recorded)
    monkeypatch.setattr(model_card, "results", lambda names: MEASURED)
    return card, recorded


def test_the_command_writes_only_when_asked(elsewhere, capsys):
    card, recorded = elsewhere

    assert model_card.main([]) == 0
    assert "**sample**" in capsys.readouterr().out
    assert not recorded.exists()

    assert model_card.main(["--write"]) == 0
    assert json.loads(recorded.read_text()) == MEASURED
    assert tables(MEASURED) in card.read_text()


def test_the_command_fails_with_one_sentence_when_a_package_cannot_be_downloaded(monkeypatch, capsys):
    def unreachable(names):
        raise DownloadError("skfolio==1.12.2: expected pip to download its wheel, found: no network.")

    monkeypatch.setattr(model_card, "results", unreachable)

    assert model_card.main([]) == 1
    assert "skfolio==1.12.2" in capsys.readouterr().err
