"""Measure how good chronos-bolt-nano is on the demo's data sets, for its model card. Runs on a developer's computer."""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.evaluation import Scores, evaluate, relative, share_better
from benchmarks.seasonal_naive import SeasonalNaive
from contracts.documents import check
from instance.checksums import file_sha256
from instance.dataset import DataFile, read_dataset
from instance.hardware import Placement
from instance.models.auto_ets import AutoETS
from instance.models.chronos_zero_shot import ChronosZeroShot
from instance.models.interface import Model
from instance.series import SeriesSet, build_series
from scripts.dataset_sources import SourceError
from scripts.make_datasets import make

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "models" / "chronos-bolt-nano"
CARD = WEIGHTS / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "model_card.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
YARDSTICK, RIVAL, LAST_VALUE = "SeasonalNaive", "AutoETS", "last value"
PACKAGES = ("chronos-forecasting", "numpy", "pandas", "statsforecast", "torch", "transformers")

MAX_HISTORY = 512  # the context of the weights; AutoETS would need up to seconds for each longer seasonal history
N_WINDOWS: Mapping[str, int] = {"market-daily": 24, "temperature-hourly": 14, "seasonal-monthly": 5}


class CardDamagedError(ValueError):
    """The model card has no place for the tables."""


def series_set(name: str) -> SeriesSet:
    """Make a demo data set and read it as a run with default settings would."""
    path = make(name, ROOT / "build" / "datasets", ROOT / "build" / "downloads")
    frame, notes = read_dataset([DataFile(path.name, path, file_sha256(path))])
    return build_series(frame, check("run_request", {"n_windows": N_WINDOWS[name]}), notes)


def contenders(season_length: int) -> list[Model]:
    """Return the models to compare, the last one being the yardstick's variant with a season of one step."""
    return [
        ChronosZeroShot(WEIGHTS, Placement("cpu", "float32")),
        AutoETS(season_length, cores=1),
        SeasonalNaive(season_length),
        SeasonalNaive(1, name=LAST_VALUE),
    ]


def measure(name: str) -> dict[str, Any]:
    """Evaluate the contenders on data set `name`; returns JSON-ready figures."""
    series = series_set(name)
    scores = evaluate(contenders(series.season_length), series, N_WINDOWS[name], MAX_HISTORY)
    return {
        "series": len(series.ids),
        "n_windows": N_WINDOWS[name],
        "horizon": series.prediction_length,
        "season_length": series.season_length,
        "freq": series.frequency.alias,
        "max_history": MAX_HISTORY,
        "models": {model: _figures(scores, model) for model in scores},
    }


def _figures(scores: Mapping[str, Scores], model: str) -> dict[str, Any]:
    own = scores[model]
    return {
        "mase": round(own.mase, 4),
        "wql": round(own.wql, 5),
        "relative_mase": round(relative(scores, model, YARDSTICK), 3),
        "better_than_seasonal_naive": round(share_better(scores, model, YARDSTICK), 3),
        "better_than_auto_ets": round(share_better(scores, model, RIVAL), 3),
        "failed": own.failed,
    }


def results(names: Sequence[str]) -> dict[str, Any]:
    """Measure on each data set and say with which weights and package versions."""
    return {
        "weights_sha256": file_sha256(WEIGHTS / "model.safetensors"),
        "packages": {package: version(package) for package in PACKAGES},
        "data_sets": {name: measure(name) for name in names},
    }


def tables(measured: Mapping[str, Any]) -> str:
    """Return one Markdown table per data set."""
    return "\n\n".join(_table(name, found) for name, found in measured["data_sets"].items())


def _table(name: str, found: Mapping[str, Any]) -> str:
    lines = [
        f"**{name}**: {found['series']} series at frequency {found['freq']}, season {found['season_length']}, "
        f"{found['n_windows']} windows of {found['horizon']} steps",
        "",
        f"| model | MASE | WQL | MASE relative to {YARDSTICK} | beats {YARDSTICK} on | beats {RIVAL} on |",
        "|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(_row(model, figures) for model, figures in found["models"].items())])


def _row(model: str, figures: Mapping[str, Any]) -> str:
    over_yardstick = "" if model == YARDSTICK else f"{figures['better_than_seasonal_naive']:.0%}"
    over_rival = "" if model == RIVAL else f"{figures['better_than_auto_ets']:.0%}"
    return (
        f"| {model} | {figures['mase']:.3f} | {figures['wql']:.4f} | {figures['relative_mase']:.3f} "
        f"| {over_yardstick} | {over_rival} |"
    )


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
    options = parser.parse_args(arguments)
    started = time.monotonic()
    try:
        measured = results(list(N_WINDOWS))
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
