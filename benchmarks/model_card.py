"""Measure how good chronos-bolt-nano is on real series, for its model card. Runs on a developer's computer."""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy import geometric_mean
from benchmarks.contenders import Chronos, Forecaster, Statistical
from benchmarks.evaluation import Scores, ratios, relative, rolling_windows, score, share_better
from benchmarks.real_series import Group, load
from benchmarks.series_groups import GROUPS
from scripts.dataset_sources import SourceError

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "models" / "chronos-bolt-nano"
CARD = WEIGHTS / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "model_card.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
CHRONOS, RIVAL, LAST_VALUE, YARDSTICK = "Chronos", "AutoETS", "last value", "SeasonalNaive"
PACKAGES = ("chronos-forecasting", "numpy", "pandas", "statsforecast", "torch", "transformers")
MAX_HISTORY = 512  # the context of the weights; AutoETS would need up to seconds for each longer seasonal history


class CardDamagedError(ValueError):
    """The model card has no place for the tables."""


def contenders(weights: Path, rival: bool = True) -> dict[str, Forecaster]:
    """Return the models to compare by name; `rival` False leaves out the slow one."""
    slow = {RIVAL: Statistical("AutoETS")} if rival else {}
    return {
        CHRONOS: Chronos(weights),
        **slow,
        LAST_VALUE: Statistical("Naive"),
        YARDSTICK: Statistical("SeasonalNaive"),
    }


def measure(group: Group, models: Mapping[str, Forecaster]) -> dict[str, Any]:
    """Let the models forecast the windows of one group; returns JSON-ready figures.

    Raises
    ------
    SourceError
        The series cannot be had.
    """
    windows = rolling_windows(load(group), group.season_length, group.horizon, group.n_windows, MAX_HISTORY)
    scores = {name: score(windows, model, group.season_length) for name, model in models.items()}
    return {
        "kept_aside": group.kept_aside,
        "frequency": group.frequency,
        "season_length": group.season_length,
        "horizon": group.horizon,
        "series": len({window.series for window in windows}),
        "windows": len(windows),
        "models": {name: _figures(scores, name) for name in scores},
    }


def _figures(scores: Mapping[str, Scores], model: str) -> dict[str, Any]:
    own = scores[model]
    return {
        "mase": round(own.mase, 4),
        "wql": round(own.wql, 5),
        "relative_mase": round(relative(scores, model, YARDSTICK), 3),
        "ratios": [round(float(value), 4) for value in ratios(scores, model, YARDSTICK)],
        **{
            f"better_than_{other}": round(share_better(scores, model, other), 3)
            for other in (YARDSTICK, RIVAL)
            if other in scores
        },
    }


def results(groups: Sequence[Group], weights: Path, rival: bool = True) -> dict[str, Any]:
    """Measure on each group and say with which weights and package versions."""
    models = contenders(weights, rival)
    return {
        "weights_sha256": hashlib.sha256((weights / "model.safetensors").read_bytes()).hexdigest(),
        "packages": {package: version(package) for package in PACKAGES},
        "max_history": MAX_HISTORY,
        "groups": {group.name: measure(group, models) for group in groups},
    }


def tables(measured: Mapping[str, Any]) -> str:
    """Return two Markdown tables: of the series kept aside, and of those looked at while developing."""
    parts = []
    for kept_aside, title in ((True, "Kept aside until the end"), (False, "Looked at while developing")):
        groups = {name: found for name, found in measured["groups"].items() if found["kept_aside"] == kept_aside}
        if groups:
            parts.append(f"**{title}**\n\n{_table(groups)}")
    return "\n\n".join(parts)


def _table(groups: Mapping[str, Any]) -> str:
    models = list(next(iter(groups.values()))["models"])
    others = [name for name in models if name != YARDSTICK]
    head = ["group", "season", "horizon", "series", "windows", *others, f"beats {YARDSTICK}"]
    if RIVAL in models:
        head.append(f"beats {RIVAL}")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += [_row(name, found, others) for name, found in groups.items()]
    return "\n".join([*lines, _row("**all**", together(groups), others)])


def together(groups: Mapping[str, Any]) -> dict[str, Any]:
    """Return one entry for all groups, in which every series counts once."""
    models = next(iter(groups.values()))["models"]
    n_series = [found["series"] for found in groups.values()]
    figures = {}
    for name in models:
        own = [found["models"][name] for found in groups.values()]
        shares = [key for key in own[0] if key.startswith("better_than_")]
        figures[name] = {
            "relative_mase": geometric_mean(np.concatenate([entry["ratios"] for entry in own])),
            **{key: float(np.average([entry[key] for entry in own], weights=n_series)) for key in shares},
        }
    windows = sum(found["windows"] for found in groups.values())
    return {"season_length": "", "horizon": "", "series": sum(n_series), "windows": windows, "models": figures}


def _row(name: str, found: Mapping[str, Any], others: Sequence[str]) -> str:
    own = found["models"][CHRONOS]
    cells = [name, *(str(found[key]) for key in ("season_length", "horizon", "series", "windows"))]
    cells += [f"{found['models'][other]['relative_mase']:.3f}" for other in others]
    cells += [f"{own[f'better_than_{rival}']:.0%}" for rival in (YARDSTICK, RIVAL) if f"better_than_{rival}" in own]
    return "| " + " | ".join(cells) + " |"


def replace_tables(card: str, text: str) -> str:
    """Return `card` with `text` between its two markers; raises CardDamagedError when they are not there, in order."""
    before, begin, rest = card.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise CardDamagedError(f"model card: expected {BEGIN} and later {END}, found at most one; put both back.")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; with --write also put them into the model card and the figures into benchmarks/results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model_card", description=__doc__)
    parser.add_argument("--write", action="store_true", help="update the model card and benchmarks/results")
    parser.add_argument("--looked-at", action="store_true", help="only the series for use while developing, no AutoETS")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of Chronos weights")
    options = parser.parse_args(arguments)
    if options.write and (options.looked_at or options.weights != WEIGHTS):
        parser.error("--write is for the whole measurement of the weights in models/, without other options")
    started = time.monotonic()
    groups = [group for group in GROUPS if not (options.looked_at and group.kept_aside)]
    try:
        measured = results(groups, options.weights, rival=not options.looked_at)
    except SourceError as error:
        print(f"model_card: {error}", file=sys.stderr)
        return 1
    print(tables(measured))
    print(f"\n{time.monotonic() - started:.0f} seconds")
    if options.write:
        CARD.write_text(replace_tables(CARD.read_text(), tables(measured)))
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(measured, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
