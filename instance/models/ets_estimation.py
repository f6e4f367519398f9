"""Estimate an exponential smoothing model of known form from the parameters of an earlier window. Runs in the worker.

statsforecast begins every estimation at the same rough values and stops after 1,000 steps of the simplex, which is
rarely the optimum of a seasonal model. Starting from an earlier window's parameters takes fewer steps and ends at a
likelihood as high, or higher.
"""

from typing import Any, NamedTuple

import numpy as np

from instance.models.interface import Floats

NAMES = ("alpha", "beta", "gamma", "phi")
LOWEST = {"alpha": 1e-4, "beta": 1e-4, "gamma": 1e-4, "phi": 0.8}  # the library's bounds
HIGHEST = {"alpha": 0.9999, "beta": 0.9999, "gamma": 0.9999, "phi": 0.98}
HIGHEST_START = 0.95
MARGIN = 1e-3
ERRORS_AVERAGED = 3  # only for the amse that the library reports


class Form(NamedTuple):
    """Components as the library writes them, and the steps in a season."""

    error: str
    trend: str
    season: str
    damped: bool
    season_length: int

    @property
    def smoothing(self) -> list[str]:
        """Names of the parameters that the form has."""
        present = {"alpha": True, "beta": self.trend != "N", "gamma": self.season != "N", "phi": self.damped}
        return [name for name in NAMES if present[name]]

    @property
    def free_states(self) -> int:
        """Initial states that are estimated; the last seasonal one follows from the others."""
        return 1 + (self.trend != "N") + (self.season_length - 1 if self.season != "N" else 0)


def estimated(values: Floats, earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the model of `earlier`'s form with parameters of maximum likelihood for `values`.

    Parameters
    ----------
    values : float64 array, shape (length,)
        The history, which begins where that of `earlier` began.
    earlier : dict
        A model as the library keeps it: components, m, par, n_params.

    Returns
    -------
    dict
        A model of the library.

    Raises
    ------
    ValueError
        The form is multiplicative and there are values that are not positive.
    """
    from statsforecast.ets import ets_f  # noqa: PLC0415 - a second to import

    error, trend, season, damped = earlier["components"]
    form = Form(error, trend, season, damped == "D", int(earlier["m"]))
    if "M" in (error, season) and values.min() <= 0:
        raise ValueError(f"a model {earlier['components']} needs positive values, found {values.min():g}")
    smoothing, states = _start(form, earlier["par"])
    best = _maximum_likelihood(values, form, smoothing, states)
    # Given a model, the library computes its states, errors and criteria, and estimates nothing.
    model: dict[str, Any] = ets_f(values, form.season_length, model={**earlier, "par": best, "fit": None})  # type: ignore[no-untyped-call]
    return model


def _start(form: Form, earlier: Floats) -> tuple[dict[str, float], Floats]:
    """Return where the search begins: the earlier parameters, away from their lower bounds.

    The simplex is built by small relative steps: begun at an alpha of 0.0001, it would be flat in that direction and
    never leave it.
    """
    given = dict(zip(NAMES, (float(one) for one in earlier[: len(NAMES)]), strict=True))
    start = {name: given[name] for name in form.smoothing}
    start["alpha"] = min(max(start["alpha"], 0.2 / form.season_length), HIGHEST_START)
    if "beta" in start:
        start["beta"] = min(max(start["beta"], 0.1 * start["alpha"]), start["alpha"] - MARGIN)
    if "gamma" in start:
        room = 1 - start["alpha"]
        start["gamma"] = min(max(start["gamma"], 0.05 * room), room - MARGIN)
    return start, earlier[len(NAMES) : len(NAMES) + form.free_states]


def _maximum_likelihood(values: Floats, form: Form, smoothing: dict[str, float], states: Floats) -> Floats:
    """Return alpha, beta, gamma, phi (NaN where the form has none) and the initial states."""
    from statsforecast.ets import optimize_ets_target_fn  # noqa: PLC0415 - a second to import

    none = dict.fromkeys(NAMES, float("nan"))
    unbounded = np.full(len(states), np.inf)
    found = optimize_ets_target_fn(  # type: ignore[no-untyped-call]
        x0=np.concatenate([list(smoothing.values()), states]),
        par=none | smoothing,
        y=values,
        nstate=len(states),
        errortype=form.error,
        trendtype=form.trend,
        seasontype=form.season,
        damped=form.damped,
        par_noopt=none,
        lowerb=np.concatenate([[LOWEST[name] for name in smoothing], -unbounded]),
        upperb=np.concatenate([[HIGHEST[name] for name in smoothing], unbounded]),
        opt_crit="lik",
        nmse=ERRORS_AVERAGED,
        bounds="both",
        m=form.season_length,
        pnames=list(smoothing),
        pnames2=list(NAMES),
    ).x
    best = none | dict(zip(smoothing, found, strict=False))
    return np.concatenate([[best[name] for name in NAMES], _all_states(form, found[len(smoothing) :])])


def _all_states(form: Form, free: Floats) -> Floats:
    """Add the last seasonal state: seasonal ones sum to 0, or to the season length when they multiply."""
    if form.season == "N":
        return free
    seasonal = free[1 + (form.trend != "N") :]
    total = form.season_length if form.season == "M" else 0.0
    return np.concatenate([free, [total - seasonal.sum()]])
