"""DynamicOptimizedTheta: the dynamic optimised theta model. Runs in the worker and its child processes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from instance.models.interface import Floats
from instance.models.series_fit import Fit, Parameters, Seen
from instance.models.statistical import StatisticalModel

FORM_NAME = "DOTM"
WARM_UP = 3  # the first residuals answer to the start values
FEWEST_RESIDUALS = 2


class ThetaMethod:
    """Fit the theta model to one series; its form never changes, so each window estimates its parameters."""

    def __init__(self, season_length: int) -> None:
        self.season_length = season_length

    def choose(self, seen: Seen, horizon: int) -> Fit:
        """Estimate level, alpha and theta; see `Method`."""
        return self._fit(seen.values, horizon)

    def estimate(self, seen: Seen, horizon: int, form: Parameters) -> Fit:
        """Estimate level, alpha and theta; see `Method`."""
        del form
        return self._fit(seen.values, horizon)

    def apply(self, seen: Seen, horizon: int, parameters: Parameters) -> Fit:
        """Take the parameters as they are; the seasonal component is still that of the values seen."""
        return self._fit(
            seen.values, horizon, **{key: parameters[key] for key in ("initial_smoothed", "alpha", "theta")}
        )

    def _fit(self, values: Floats, horizon: int, **given: float) -> Fit:
        from statsforecast.theta import auto_theta, forecast_theta  # noqa: PLC0415 - a second to import

        model = auto_theta(values, m=self.season_length, model=FORM_NAME, **given)  # type: ignore[no-untyped-call]
        point = np.asarray(forecast_theta(model, horizon)["mean"], dtype=np.float64)  # type: ignore[no-untyped-call]
        spread = _residual_sigma(model) * spread_growth(
            len(values), horizon, alpha=model["par"]["alpha"], theta=model["par"]["theta"]
        )
        if model.get("decomposition_type") == "multiplicative":
            spread = spread * np.abs(_season(model, np.arange(horizon)))
        return Fit(point, spread, {"method": FORM_NAME, **_parameters(model)})


class DynamicOptimizedTheta(StatisticalModel):
    """The dynamic optimised theta model (Fiorucci et al. 2016) as statsforecast fits it, with normal intervals.

    The season, of any length, is removed before by classical decomposition when its autocorrelation is significant and
    there are two seasons of data; multiplicative where the data is positive. The intervals are our own, see
    `spread_growth`: the library simulates 200 paths, and adds the season to the residuals of an additive one.
    """

    name = "DynamicOptimizedTheta"

    @property
    def method(self) -> ThetaMethod:
        """How one series is fitted."""
        return ThetaMethod(self.season_length)

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say nothing: it takes seasons of any length; see `Model.caveats`."""
        del horizon, levels
        return []


def spread_growth(length: int, horizon: int, *, alpha: float, theta: float) -> Floats:
    """Return how the standard deviation of the forecast grows, for errors of variance 1.

    The model (Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler 2016, "Models for optimising the theta method and
    their relationship to state space models", International Journal of Forecasting 32(4), equations 13 to 17) is linear
    in its errors: the variance of a step is the sum of the squares of its responses to each error before and in it.

    Parameters
    ----------
    length, horizon : int
        Steps seen, and steps to forecast.
    alpha, theta : float
        Smoothing and theta parameter.

    Returns
    -------
    float64 array, shape (horizon,)
    """
    impulses = np.eye(horizon)
    responses = np.empty((horizon, horizon))  # (step, error)
    level = mean = slope = intercept = np.zeros(horizon)
    for step, impulse in enumerate(impulses):
        t = length + step
        decay = (1 - alpha) ** t
        trend = intercept * decay + slope * (1 - decay * (1 - alpha)) / alpha
        y = level + (1 - 1 / theta) * trend + impulse
        responses[step] = y
        level = alpha * y + (1 - alpha) * level
        mean = (t * mean + y) / (t + 1)
        slope = ((t - 1) * slope + 6 * (y - mean) / (t + 1)) / (t + 2)
        intercept = mean - slope * (t + 2) / 2
    growth: Floats = np.sqrt(np.sum(responses**2, axis=1))
    return growth


def _residual_sigma(model: dict[str, Any]) -> float:
    """Return the standard deviation of the one-step errors of the series without its season."""
    residuals = np.asarray(model["residuals"], dtype=np.float64)
    if model.get("decompose"):
        season = _season(model, np.arange(-len(residuals), 0))
        residuals = residuals / season if model["decomposition_type"] == "multiplicative" else residuals - season
    settled = residuals[WARM_UP:] if len(residuals) >= WARM_UP + FEWEST_RESIDUALS else residuals
    return float(np.std(settled, ddof=1))


def _season(model: dict[str, Any], steps: Any) -> Floats:
    """Return the seasonal component at steps counted from the first one to forecast."""
    season = np.asarray(model["seas_forecast"]["mean"], dtype=np.float64)
    component: Floats = season[steps % len(season)]
    return component


def _parameters(model: dict[str, Any]) -> Parameters:
    return {
        **{key: float(model["par"][key]) for key in ("initial_smoothed", "alpha", "theta")},
        "decomposition": str(model["decomposition_type"]) if model.get("decompose") else None,
        "mse": float(model["mse"]),
    }
