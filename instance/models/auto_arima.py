"""AutoARIMA: seasonal ARIMA with known covariates, its order chosen by AICc. Runs in the worker and its children."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from instance.models.interface import KNOWN, Floats
from instance.models.normal_quantiles import ONE_SIGMA_LEVEL
from instance.models.series_fit import Fit, Parameters, Seen
from instance.models.statistical import StatisticalModel

LONGEST_SEASON = 24  # the state has a season's steps, and its covariance their square: minutes a series beyond
DRIFT, INTERCEPT = "drift", "intercept"
MAXIMUM_LIKELIHOOD = "CSS-ML"  # started from conditional least squares, as the search ends, too


class ArimaMethod:
    """Fit a regression with ARIMA errors to one series."""

    def __init__(self, season_length: int) -> None:
        self.season_length = season_length

    def choose(self, seen: Seen, horizon: int) -> Fit:
        """Search the order stepwise (Hyndman and Khandakar 2008); see `Method`."""
        from statsforecast.arima import auto_arima_f  # noqa: PLC0415 - a second to import

        columns = independent_columns(seen)
        model = auto_arima_f(seen.values, period=self.season_length, xreg=_past(seen, columns))  # type: ignore[no-untyped-call]
        return _forecast(model, seen, horizon, columns)

    def estimate(self, seen: Seen, horizon: int, form: Parameters) -> Fit:
        """Estimate the coefficients of a known order; see `Method`."""
        return _forecast(_arima(seen, form), seen, horizon, form["covariates"])

    def apply(self, seen: Seen, horizon: int, parameters: Parameters) -> Fit:
        """Take coefficients and variance as they are; see `Method`."""
        coefficients = np.array(list(parameters["coefficients"].values()), dtype=np.float64)
        model = _arima(seen, parameters, **({"fixed": coefficients} if len(coefficients) else {}))
        return _forecast(model | {"sigma2": parameters["sigma2"]}, seen, horizon, parameters["covariates"])


class AutoARIMA(StatisticalModel):
    """Seasonal ARIMA models (Hyndman and Khandakar 2008) as statsforecast fits them, normal prediction intervals.

    Covariates known in advance are regressors, except those that are constant so far or follow from the others.
    """

    name = "AutoARIMA"
    covariates = frozenset({KNOWN})

    @property
    def method(self) -> ArimaMethod:
        """How one series is fitted."""
        return ArimaMethod(self.season_length if self.season_length <= LONGEST_SEASON else 1)

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say when the season is left out; see `Model.caveats`."""
        del horizon, levels
        if self.season_length <= LONGEST_SEASON:
            return []
        return [
            f"the season of {self.season_length} steps is longer than the {LONGEST_SEASON} that AutoARIMA models in "
            "reasonable time, so its forecasts have no season."
        ]


def independent_columns(seen: Seen) -> list[int]:
    """Return which covariates a regression with an intercept can tell apart on the values seen."""
    if seen.known is None:
        return []
    past = seen.known[:, : len(seen.values)]
    kept: list[Floats] = [np.ones(len(seen.values))]
    columns = []
    for column, values in enumerate(past):
        scale = np.abs(values).max() or 1.0
        if np.linalg.matrix_rank(np.stack([*kept, values / scale])) > len(kept):
            kept.append(values / scale)
            columns.append(column)
    return columns


def _past(seen: Seen, columns: list[int]) -> Floats | None:
    """Return the regressors of the values seen, (length, n_columns)."""
    return (
        np.ascontiguousarray(seen.known[columns, : len(seen.values)].T) if columns and seen.known is not None else None
    )


def _future(seen: Seen, columns: list[int], horizon: int) -> Floats | None:
    length = len(seen.values)
    if not columns or seen.known is None:
        return None
    return np.ascontiguousarray(seen.known[columns, length : length + horizon].T)


def _arima(seen: Seen, form: Parameters, **options: Any) -> dict[str, Any]:
    from statsforecast.arima import Arima  # noqa: PLC0415 - a second to import

    model: dict[str, Any] = Arima(  # type: ignore[no-untyped-call]
        seen.values,
        order=tuple(form["order"]),
        seasonal={"order": tuple(form["seasonal_order"]), "period": form["season_length"]},
        xreg=_past(seen, form["covariates"]),
        include_mean=form["constant"] == INTERCEPT,
        include_drift=form["constant"] == DRIFT,
        method=MAXIMUM_LIKELIHOOD,
        **options,
    )
    return model


def _forecast(model: dict[str, Any], seen: Seen, horizon: int, columns: list[int]) -> Fit:
    from statsforecast.arima import forecast_arima  # noqa: PLC0415 - a second to import

    parameters = _parameters(model, columns)
    made = forecast_arima(model, horizon, level=[ONE_SIGMA_LEVEL], xreg=_future(seen, columns, horizon))  # type: ignore[no-untyped-call]
    point = np.asarray(made["mean"], dtype=np.float64)
    upper = np.asarray(made["upper"], dtype=np.float64)[:, 0]
    return Fit(point, upper - point, parameters)


def _parameters(model: dict[str, Any], columns: list[int]) -> Parameters:
    from statsforecast.arima import arima_string  # noqa: PLC0415 - a second to import

    p, q, seasonal_p, seasonal_q, period, d, seasonal_d = (int(one) for one in model["arma"])
    names = list(model["coef"])
    return {
        "method": arima_string(model).strip(),  # type: ignore[no-untyped-call]
        "order": [p, d, q],
        "seasonal_order": [seasonal_p, seasonal_d, seasonal_q],
        "season_length": period,
        "constant": next((name for name in (DRIFT, INTERCEPT) if name in names), None),
        "covariates": columns,
        "coefficients": {name: float(value) for name, value in model["coef"].items()},
        "sigma2": float(model["sigma2"]),
        "aicc": float(model["aicc"]) if np.isfinite(model["aicc"]) else None,
    }
