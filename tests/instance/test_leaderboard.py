"""The leaderboard: order, intervals as SciPy computes them, ties, and what is said of too few series."""

import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm, t

from contracts.reasons import TrainingFailed
from instance.bootstrap import percentile_interval, resampled_sums
from instance.leaderboard import leaderboard, sentences
from instance.metrics import RATIOS
from instance.scores import SUMS, SeriesScores


def scores_of(scaled_error: np.ndarray, **sums: np.ndarray) -> SeriesScores:
    """Scores of series with 10 steps each, whose MASE is `scaled_error` / 10."""
    n_series = len(scaled_error)
    given_sums = dict.fromkeys(SUMS, np.full(n_series, 10.0)) | {"scaled_error": scaled_error} | sums
    return SeriesScores((0.5,), **given_sums)


@pytest.fixture
def errors() -> np.ndarray:
    return np.random.default_rng(5).lognormal(2, 0.5, size=60)


def noise(spread: float, seed: int = 0) -> np.ndarray:
    return np.exp(np.random.default_rng(seed).normal(0, spread, size=60))


def test_models_are_ranked_by_the_metric_over_all_series(errors):
    models = {"worst": scores_of(errors * 3), "best": scores_of(errors), "middle": scores_of(errors * 2)}
    rows = leaderboard(models)
    assert [(row["rank"], row["model"]) for row in rows] == [(1, "best"), (2, "middle"), (3, "worst")]
    for row in rows:
        assert row["value"] == RATIOS["mase"](models[row["model"]]).value()
        assert row["difference"] == row["value"] - rows[0]["value"]
        assert row["low"] < row["value"] < row["high"]
        assert row["series"] == 60


def test_the_interval_of_a_mean_agrees_with_scipys_bootstrap(errors):
    row = leaderboard({"a": scores_of(errors)}, n_resamples=20_000)[0]
    tail = norm.cdf(t.ppf(0.025, 59) * np.sqrt(60 / 59))
    theirs = bootstrap(
        (errors / 10,), np.mean, confidence_level=1 - 2 * tail, method="percentile", n_resamples=20_000, rng=1
    )
    width = row["high"] - row["low"]
    assert (row["low"], row["high"]) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03 * width)


def test_the_interval_of_a_difference_is_over_the_same_draws_for_both(errors):
    close = errors * 1.05 * noise(0.02)
    rows = leaderboard({"a": scores_of(errors), "b": scores_of(close)}, n_resamples=20_000)
    tail = norm.cdf(t.ppf(0.025, 59) * np.sqrt(60 / 59))
    theirs = bootstrap(
        (close / 10, errors / 10),
        lambda b, a, axis: np.mean(b, axis=axis) - np.mean(a, axis=axis),
        paired=True,
        confidence_level=1 - 2 * tail,
        method="percentile",
        n_resamples=20_000,
        rng=1,
    )
    found = rows[1]["difference_low"], rows[1]["difference_high"]
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=0.03 * (found[1] - found[0]))
    # Far inside each other's intervals, and yet not a tie.
    assert rows[1]["value"] < rows[0]["high"]
    assert not rows[1]["tied_with_best"]


def test_a_difference_inside_the_noise_is_a_tie(errors):
    rows = leaderboard({"a": scores_of(errors), "b": scores_of(errors * noise(0.3)), "c": scores_of(errors * 1.5)})
    assert {row["model"]: row["tied_with_best"] for row in rows} == {"a": True, "b": True, "c": False}
    tied = next(row for row in rows if row["model"] == "b")
    assert tied["difference_low"] <= 0 <= tied["difference_high"]


def test_models_without_a_true_difference_are_seldom_told_apart():
    rng = np.random.default_rng(6)
    told_apart = 0
    for seed in range(300):
        base = rng.lognormal(0, 0.5, size=(8, 1))
        a, b = (base * np.exp(rng.normal(0, 0.2, size=(8, 2)))).T
        rows = leaderboard({"a": scores_of(a), "b": scores_of(b)}, seed=seed, n_resamples=400)
        told_apart += not rows[1]["tied_with_best"]
    # 5 % is meant; percentiles that are not moved outwards give 13 % with eight series.
    assert 0.02 <= told_apart / 300 <= 0.10


def test_many_series_have_the_usual_percentiles():
    resampled = np.random.default_rng(0).normal(size=(5000, 1))
    low, high = percentile_interval(resampled, 100_000, 0.95)
    assert (low.item(), high.item()) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])), abs=1e-3)


def test_few_series_have_percentiles_further_out():
    resampled = np.random.default_rng(0).normal(size=(50_000, 1))
    low, high = percentile_interval(resampled, 8, 0.95)
    # Student's 2.3646 with 7 degrees of freedom, times the root of 8/7, is 2.5279 standard deviations: 0.574 %.
    assert (low.item(), high.item()) == pytest.approx(tuple(np.quantile(resampled, [0.00574, 1 - 0.00574])), abs=1e-2)


def test_resamples_draw_as_many_series_as_there_are_and_in_blocks_as_at_once(monkeypatch):
    values = np.stack([np.ones(50), np.arange(50.0)], axis=1)
    at_once = resampled_sums(values, 40, seed=2)
    assert (at_once[:, 0] == 50).all()
    assert len(set(at_once[:, 1])) > 30
    monkeypatch.setattr("instance.bootstrap.WEIGHTS_AT_ONCE", 150)
    assert (resampled_sums(values, 40, seed=2) == at_once).all()


def test_the_same_seed_gives_the_same_rows_and_another_seed_others(errors):
    models = {"a": scores_of(errors), "b": scores_of(errors * noise(0.3))}
    assert leaderboard(models, seed=1) == leaderboard(models, seed=1)
    assert leaderboard(models, seed=1) != leaderboard(models, seed=2)


@pytest.mark.parametrize(
    ("undefined", "metric"), [(["scaled_steps"], "wql"), (["scaled_steps", "size"], "mae")], ids=["wql", "mae"]
)
def test_another_metric_takes_the_place_of_one_that_is_defined_for_no_model(errors, undefined, metric):
    gone = dict.fromkeys(undefined, np.zeros(60))
    rows = leaderboard({"a": scores_of(np.zeros(60), **gone), "b": scores_of(np.zeros(60), **gone)})
    assert {row["metric"] for row in rows} == {metric}
    assert rows[0]["value"] is not None


def test_a_model_without_a_value_comes_last_and_never_ties(errors):
    rows = leaderboard({"broken": scores_of(errors * np.inf), "works": scores_of(errors)})
    assert [row["model"] for row in rows] == ["works", "broken"]
    assert (rows[1]["value"], rows[1]["difference"], rows[1]["tied_with_best"]) == (None, None, False)
    assert sentences(rows, 60)[0].endswith("; broken could not be ranked.")


def test_when_nothing_is_defined_no_model_is_best():
    nothing = dict.fromkeys(SUMS, np.zeros(3))
    rows = leaderboard({"a": SeriesScores((0.5,), **nothing)})
    assert (rows[0]["value"], rows[0]["metric"]) == (None, "mase")
    assert sentences(rows, 3) == ["No model could be ranked: MASE is not defined for any of them."]


def test_series_without_the_metric_do_not_count_as_evidence(errors):
    some = np.arange(60) < 3
    models = {
        name: scores_of(np.where(some, errors * factor, 0), scaled_steps=np.where(some, 10.0, 0.0))
        for name, factor in (("a", 1.0), ("b", 1.1))
    }
    rows = leaderboard(models)
    assert rows[0]["series"] == 3
    assert "only 3 of 60 series" in sentences(rows, 60)[1]


def test_sentences_say_how_few_series_the_intervals_rest_on(errors):
    def doubts(n_series: int, n_asked: int) -> list[str]:
        return sentences(leaderboard({"a": scores_of(errors[:n_series])}), n_asked)[1:]

    assert doubts(7, 7) == ["The intervals come from only 7 series; below 8 do not trust them."]
    assert doubts(8, 8) == []
    assert doubts(8, 9) == ["MASE is defined for 8 of 9 series."]


def test_a_single_series_tells_nothing_apart():
    rows = leaderboard({"a": scores_of(np.array([5.0])), "b": scores_of(np.array([9.0]))})
    assert [row["tied_with_best"] for row in rows] == [True, True]
    assert (rows[1]["low"], rows[1]["difference_low"]) == (None, None)
    assert rows[1]["difference"] == pytest.approx(0.4)
    assert sentences(rows, 1)[1] == "One series gives no interval, so no difference can be told from noise."


def test_sentences_name_the_best_its_ties_and_who_is_behind(errors):
    rows = leaderboard({"a": scores_of(errors), "b": scores_of(errors * noise(0.3)), "c": scores_of(errors * 1.5)})
    best, behind = rows[0], rows[2]
    assert sentences(rows, 60) == [
        f"{best['model']} is best: MASE {best['value']:.3g} ({best['low']:.3g} to {best['high']:.3g}); "
        f"{rows[1]['model']} ties with it; c is behind by {behind['difference']:.3g} "
        f"({behind['difference_low']:.3g} to {behind['difference_high']:.3g})."
    ]


def test_sentences_of_a_single_model_compare_nothing(errors):
    (said,) = sentences(leaderboard({"a": scores_of(errors)}), 60)
    assert said.startswith("a is best: MASE ")
    assert ";" not in said


def test_models_scored_on_different_series_are_refused(errors):
    with pytest.raises(TrainingFailed, match=r"same series, found .*'a': 60, 'b': 59"):
        leaderboard({"a": scores_of(errors), "b": scores_of(errors[:-1])})


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 3.0]), min_size=2, max_size=2), min_size=1, max_size=4),
    st.sampled_from(["mase", "wql", "mae", "rmse"]),
)
@settings(deadline=None)
def test_rows_are_json_without_nan_whatever_is_undefined(columns, metric):
    parts = np.array(columns)
    sums = {"scaled_steps": parts[:, 1], "size": parts[:, 1], "pinball": parts[:, 0], "steps": parts[:, 1]}
    rows = leaderboard({"a": scores_of(parts[:, 0], **sums), "b": scores_of(parts[:, 1], **sums)}, metric)
    json.dumps(rows, allow_nan=False)


def test_memory_does_not_grow_with_resamples_times_series():
    models = {"a": scores_of(np.ones(20_000)), "b": scores_of(np.linspace(1, 2, 20_000))}
    leaderboard(models, n_resamples=2)  # imports SciPy
    tracemalloc.start()
    leaderboard(models, n_resamples=300)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # A block of draws and its weights take 48 MB; all of the 6 million at once would take 144.
    assert peak < 60e6
