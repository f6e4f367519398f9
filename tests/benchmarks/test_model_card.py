"""The model card of chronos-bolt-nano says what was measured, with the weights that are there. Runs anywhere."""

import hashlib
import json

import numpy as np
import pytest

from benchmarks import model_card
from benchmarks.contenders import Statistical
from benchmarks.model_card import BEGIN, CARD, END, RESULTS, WEIGHTS, CardDamagedError, replace_tables, tables, together
from benchmarks.real_series import Group
from benchmarks.series_groups import GROUPS
from scripts.dataset_sources import DownloadError


def figures(relative, *ratios, share=0.5):
    return {
        "mase": 1.0,
        "wql": 0.02,
        "relative_mase": relative,
        "ratios": list(ratios),
        "better_than_SeasonalNaive": share,
        "better_than_AutoETS": 0.25,
    }


def group(kept_aside, series, relative, *ratios, share=0.5):
    return {
        "kept_aside": kept_aside, "frequency": "h", "season_length": 24, "horizon": 12, "series": series,
        "windows": 2 * series,
        "models": {"Chronos": figures(relative, *ratios, share=share), "AutoETS": figures(0.7, *ratios),
                   "SeasonalNaive": figures(1.0, *ratios)},
    }  # fmt: skip


MEASURED = {"groups": {"one": group(True, 2, 0.85, 0.5, 2.0), "two": group(True, 1, 0.1, 0.125, share=1.0),
                       "three": group(False, 1, 0.3, 0.3)}}  # fmt: skip


def test_the_card_holds_the_tables_of_the_recorded_results():
    recorded = json.loads(RESULTS.read_text())

    assert tables(recorded) in CARD.read_text()
    assert list(recorded["groups"]) == [group.name for group in GROUPS]


def test_the_recorded_results_were_measured_with_the_weights_that_are_there():
    recorded = json.loads(RESULTS.read_text())

    assert recorded["weights_sha256"] == hashlib.sha256((WEIGHTS / "model.safetensors").read_bytes()).hexdigest()


def test_there_is_one_table_for_each_side_of_the_split():
    kept_aside, looked_at = tables(MEASURED).split("**Looked at while developing**")

    assert "| one | 24 | 12 | 2 | 4 | 0.850 | 0.700 | 50% | 25% |" in kept_aside
    assert "| two |" in kept_aside
    assert "| three | 24 | 12 | 1 | 2 | 0.300 | 0.700 | 50% | 25% |" in looked_at


def test_in_the_last_row_every_series_counts_once():
    kept_aside = {name: found for name, found in MEASURED["groups"].items() if found["kept_aside"]}

    assert together(kept_aside)["models"]["Chronos"]["relative_mase"] == pytest.approx(0.5)
    assert together(kept_aside)["series"] == 3
    assert together(kept_aside)["models"]["Chronos"]["better_than_SeasonalNaive"] == pytest.approx(2 / 3)
    assert "| **all** |  |  | 3 | 6 | 0.500 |" in tables(MEASURED)


def test_replace_tables_keeps_what_is_around_the_markers():
    card = f"before\n{BEGIN}\nold\n{END}\nafter\n"

    assert replace_tables(card, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


@pytest.mark.parametrize("card", ["no markers", f"{END} wrong order {BEGIN}", f"only {BEGIN}"])
def test_replace_tables_refuses_a_card_without_both_markers(card):
    with pytest.raises(CardDamagedError, match="put both back"):
        replace_tables(card, "new")


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    card, recorded = tmp_path / "README.md", tmp_path / "results" / "model_card.json"
    card.write_text(f"{BEGIN}\n{END}\n")
    monkeypatch.setattr(model_card, "CARD", card)
    monkeypatch.setattr(model_card, "RESULTS", recorded)
    monkeypatch.setattr(model_card, "results", lambda *_, **__: MEASURED)
    return card, recorded


def test_the_command_writes_only_when_asked(elsewhere, capsys):
    card, recorded = elsewhere

    assert model_card.main([]) == 0
    assert "| two |" in capsys.readouterr().out
    assert not recorded.exists()

    assert model_card.main(["--write"]) == 0
    assert json.loads(recorded.read_text()) == MEASURED
    assert tables(MEASURED) in card.read_text()


def test_while_developing_no_series_kept_aside_is_measured(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(model_card, "results", lambda groups, *_, **__: asked.extend(groups) or MEASURED)

    model_card.main(["--looked-at"])

    assert asked
    assert not any(group.kept_aside for group in asked)


def test_measuring_compares_every_model_on_the_same_windows():
    season = np.tile([1.0, 5.0, 2.0, 4.0], 12) + 0.1 * np.random.default_rng(0).standard_normal(48)
    sample = Group("sample", "QS", 4, 4, 3, False, (), lambda: {"a": season, "b": season + np.arange(48.0)})

    found = model_card.measure(sample, {"Chronos": Statistical("Naive"), "SeasonalNaive": Statistical("SeasonalNaive")})

    assert (found["series"], found["windows"]) == (2, 6)
    assert found["models"]["SeasonalNaive"]["relative_mase"] == 1
    assert found["models"]["Chronos"]["relative_mase"] > 2
    assert len(found["models"]["Chronos"]["ratios"]) == 2


def test_main_says_what_cannot_be_had(monkeypatch, capsys):
    def fail(*_, **__):
        raise DownloadError("vega_datasets: no network")

    monkeypatch.setattr(model_card, "results", fail)

    assert model_card.main([]) == 1
    assert "no network" in capsys.readouterr().err


def test_the_card_is_written_from_a_whole_measurement_only(capsys):
    with pytest.raises(SystemExit):
        model_card.main(["--write", "--looked-at"])

    assert "whole measurement" in capsys.readouterr().err
