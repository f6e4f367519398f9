"""AutoETS: exponential smoothing chosen by AICc. Runs in the worker and its child processes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from instance.models.ets_estimation import estimated
from instance.models.interface import Floats
from instance.models.normal_quantiles import ONE_SIGMA_LEVEL
from instance.models.series_fit import Fit, Parameters, Seen
from instance.models.statistical import StatisticalModel, as_array, as_floats

LONGEST_SEASON = 24  # as forecast::ets, which estimates one state per step of the season


class EtsMethod:
    """Fit an exponential smoothing model to one series."""

    def __init__(self, season_length: int) -> None:
        self.season_length = season_length

    def choose(self, seen: Seen, horizon: int) -> Fit:
        """Estimate every form and keep the one of the lowest AICc; see `Method`."""
        from statsforecast.ets import ets_f  # noqa: PLC0415 - a second to import

        return _forecast(ets_f(seen.values, self.season_length), horizon)  # type: ignore[no-untyped-call]

    def estimate(self, seen: Seen, horizon: int, form: Parameters) -> Fit:
        """Estimate the parameters of one form, from those of the window before; see `Method`."""
        return _forecast(estimated(seen.values, _model(form)), horizon)

    def apply(self, seen: Seen, horizon: int, parameters: Parameters) -> Fit:
        """Take smoothing parameters and initial states as they are; see `Method`."""
        from statsforecast.ets import ets_f  # noqa: PLC0415 - a second to import

        return _forecast(ets_f(seen.values, parameters["season_length"], model=_model(parameters)), horizon)  # type: ignore[no-untyped-call]


class AutoETS(StatisticalModel):
    """Error-trend-seasonality models (Hyndman et al. 2008) as statsforecast fits them, normal prediction intervals.

    With refit "parameters", the estimation of later windows starts from the parameters of the window before, see
    `ets_estimation`. Seasons longer than 24 steps are left out, as R's forecast::ets does.
    """

    name = "AutoETS"

    @property
    def method(self) -> EtsMethod:
        """How one series is fitted."""
        return EtsMethod(self.season_length if self.season_length <= LONGEST_SEASON else 1)

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say when the season is left out; see `Model.caveats`."""
        del horizon, levels
        if self.season_length <= LONGEST_SEASON:
            return []
        return [
            f"the season of {self.season_length} steps is longer than the {LONGEST_SEASON} that AutoETS models, "
            "so its forecasts have no season."
        ]


def _forecast(model: dict[str, Any], horizon: int) -> Fit:
    from statsforecast.ets import forecast_ets  # noqa: PLC0415 - a second to import

    made = forecast_ets(model, horizon, level=[ONE_SIGMA_LEVEL])  # type: ignore[no-untyped-call]
    point: Floats = np.asarray(made["mean"], dtype=np.float64)
    return Fit(point, np.asarray(made[f"hi-{ONE_SIGMA_LEVEL}"], dtype=np.float64) - point, _parameters(model))


def _parameters(model: dict[str, Any]) -> Parameters:
    error, trend, season, damped = model["components"]
    return {
        "method": f"ETS({error},{trend}{'d' if damped == 'D' else ''},{season})",
        "components": model["components"],
        "season_length": int(model["m"]),
        "smoothing": as_floats(model["par"][:4]),  # alpha, beta, gamma, phi
        "initial_states": as_floats(model["par"][4:]),
        "n_parameters": int(model["n_params"]),
        "sigma2": float(model["sigma2"]),
        "aicc": float(model["aicc"]) if np.isfinite(model["aicc"]) else None,
    }


def _model(parameters: Parameters) -> dict[str, Any]:
    """Return the model that the library wants to begin from."""
    return {
        "components": parameters["components"],
        "m": parameters["season_length"],
        "par": np.concatenate([as_array(parameters["smoothing"]), as_array(parameters["initial_states"])]),
        "n_params": parameters["n_parameters"],
        "fit": None,
    }
