"""Models in the order of a metric, and which differences are more than noise. Pure. Runs in the worker."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from contracts.reasons import TrainingFailed
from instance.bootstrap import percentile_interval, resampled_sums
from instance.metrics import RATIOS, Ratio
from instance.scores import SeriesScores

Floats = npt.NDArray[np.float64]
Row = dict[str, Any]
Ends = tuple[float, float, float, float]

CONFIDENCE = 0.95
N_RESAMPLES = 1000
FEWEST_SERIES = 8
LOSSES = ("mase", "wql", "mae", "rmse")


def leaderboard(
    scores: Mapping[str, SeriesScores], metric: str = "mase", seed: int = 0, n_resamples: int = N_RESAMPLES
) -> list[Row]:
    """Rank models by a loss, with bootstrap intervals over series.

    Intervals are those of `percentile_interval`, at 95 %. A model ties with the best when the interval of its
    difference to it, over the same draws of series for both, contains 0. The draws take the series for independent:
    where they move together, the intervals are too narrow.

    Parameters
    ----------
    scores : mapping of str to SeriesScores
        By model name; of the same series, in the same order.
    metric : str
        Out of `LOSSES`. Where it is not defined for any model, the first of WQL and MAE that is takes its place.
    seed, n_resamples : int
        Of the bootstrap: the same seed gives the same rows.

    Returns
    -------
    list of dict
        Best first: model, rank, metric, series (those that have the metric), value, low, high, difference (to the
        best), difference_low, difference_high, tied_with_best (true of the best itself). None where something is not
        defined, and for the ends of intervals over a single series, which tell nothing: its models are all tied.

    Raises
    ------
    TrainingFailed
        The models were not scored on the same number of series.
    """
    _check_same_series(scores)
    metric = _defined_metric(scores, metric)
    ratios = {name: RATIOS[metric](one) for name, one in scores.items()}
    values = {name: ratio.value() for name, ratio in ratios.items()}
    ranked = sorted((value, name) for name, value in values.items() if value is not None)
    best_first = [name for _, name in ranked]
    found = _ranked([value for value, _ in ranked], [ratios[name] for name in best_first], seed, n_resamples)
    unranked = sorted(name for name, value in values.items() if value is None)
    found += [_row(None, None, None, None, tied=False) for _ in unranked]
    return [
        {"model": name, "rank": rank, "metric": metric, **row}
        for rank, (name, row) in enumerate(zip([*best_first, *unranked], found, strict=True), start=1)
    ]


def sentences(rows: Sequence[Row], n_series: int) -> list[str]:
    """Say who is best, who ties with it, and when not to trust that.

    Parameters
    ----------
    rows : sequence of dict
        Of `leaderboard`.
    n_series : int
        Series that the models forecast, with the metric or without.

    Returns
    -------
    list of str
        One or two sentences for people.
    """
    best, *rest = rows
    if best["value"] is None:
        return [f"No model could be ranked: {best['metric'].upper()} is not defined for any of them."]
    verdict = f"{best['model']} is best: {best['metric'].upper()} {best['value']:.3g}{_range(best, '')}"
    return ["; ".join([verdict, *_others(rest)]) + ".", *_doubts(best, n_series)]


def _doubts(best: Row, n_series: int) -> list[str]:
    ranked_on = best["series"]
    of_all = f"{ranked_on} of {n_series} series" if ranked_on < n_series else f"{ranked_on} series"
    if ranked_on == 1:
        return ["One series gives no interval, so no difference can be told from noise."]
    if ranked_on < FEWEST_SERIES:
        return [f"The intervals come from only {of_all}; below {FEWEST_SERIES} do not trust them."]
    return [f"{best['metric'].upper()} is defined for {of_all}."] if ranked_on < n_series else []


def _check_same_series(scores: Mapping[str, SeriesScores]) -> None:
    counts = {name: len(one) for name, one in scores.items()}
    if len(set(counts.values())) != 1:
        raise TrainingFailed(
            f"expected every model to be scored on the same series, found {counts or 'no model'}. Report it as a bug."
        )


def _defined_metric(scores: Mapping[str, SeriesScores], metric: str) -> str:
    for name in (metric, "wql", "mae"):
        if any(RATIOS[name](one).value() is not None for one in scores.values()):
            return name
    return metric


def _ranked(values: Sequence[float], best_first: Sequence[Ratio], seed: int, n_resamples: int) -> list[Row]:
    """Return the figures of each model, each from the same resamples of the series that have the metric."""
    if not best_first:
        return []
    parts = np.stack([part for ratio in best_first for part in (ratio.numerator, ratio.denominator)], axis=1)
    parts = parts[(parts != 0).any(axis=1)]
    n_series = len(parts)
    if n_series == 1:
        return [_row(n_series, value, value - values[0], None, tied=True) for value in values]
    ends = _ends(best_first[0], resampled_sums(parts, n_resamples, seed), n_series)
    return [
        _row(n_series, value, value - values[0], its, tied=its[2] <= 0 <= its[3])
        for value, its in zip(values, ends, strict=True)
    ]


def _ends(ratio: Ratio, sums: Floats, n_series: int) -> list[Ends]:
    """Return the ends of the intervals of each model's figure, and of its difference to the first model's."""
    with np.errstate(all="ignore"):
        figures = ratio.of(sums[:, ::2], sums[:, 1::2])
    # Where the series that were drawn have no metric, such as WQL of zeros.
    figures = np.where(np.isfinite(figures), figures, np.nan)
    alone = percentile_interval(figures, n_series, CONFIDENCE)
    apart = percentile_interval(figures - figures[:, :1], n_series, CONFIDENCE)
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in zip(*alone, *apart, strict=True)]


def _row(n_series: int | None, value: float | None, difference: float | None, ends: Ends | None, *, tied: bool) -> Row:
    low, high, difference_low, difference_high = ends or (None,) * 4
    return {
        "series": n_series or 0,
        "value": value,
        "low": low,
        "high": high,
        "difference": difference,
        "difference_low": difference_low,
        "difference_high": difference_high,
        "tied_with_best": tied,
    }


def _others(rest: Sequence[Row]) -> list[str]:
    tied = [row["model"] for row in rest if row["tied_with_best"]]
    behind = [row for row in rest if not row["tied_with_best"] and row["value"] is not None]
    unranked = [row["model"] for row in rest if row["value"] is None]
    said = [f"{_listed(tied)} {'tie' if len(tied) > 1 else 'ties'} with it"] if tied else []
    if behind:
        nearest = behind[0]
        said.append(f"{nearest['model']} is behind by {nearest['difference']:.3g}{_range(nearest, 'difference_')}")
    return [*said, f"{_listed(unranked)} could not be ranked"] if unranked else said


def _range(row: Row, of: str) -> str:
    low, high = row[f"{of}low"], row[f"{of}high"]
    return "" if low is None else f" ({low:.3g} to {high:.3g})"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
