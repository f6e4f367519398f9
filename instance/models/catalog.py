"""The models a request can name, and how each is made. Runs in the worker."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.models import CHRONOS, FINE_TUNED
from contracts.reasons import ModelWeightsMissing
from instance.hardware import Placement
from instance.models.auto_arima import AutoARIMA
from instance.models.auto_ets import AutoETS
from instance.models.chronos_fine_tuned import ChronosFineTuned
from instance.models.chronos_zero_shot import ChronosZeroShot
from instance.models.core_pool import CorePool
from instance.models.interface import KNOWN, PAST, Model
from instance.models.seasonal_naive import SeasonalNaive
from instance.models.theta import DynamicOptimizedTheta

REFITTED = {
    "ChronosZeroShot": "not fitted; each window conditions on the values before it",
    FINE_TUNED: "trained once, before the first window; each window conditions on the values before it",
    "SeasonalNaive": "nothing to fit",
    "DynamicOptimizedTheta": "parameters in each window",
    "Ensemble": "weights in each window, from the windows before it",
}
REFITTED_BY_REQUEST = {
    "form": "form and parameters in each window",
    "parameters": "form once, in the first window; parameters in each window",
}


@dataclass(frozen=True)
class Setting:
    """What models are made of.

    Parameters
    ----------
    request : dict
        A run request with its defaults.
    season_length : int
        Steps in a season.
    placement : Placement
        Device and number format of the Chronos models.
    weights : Path, optional
        Folder of the Chronos weights.
    pool : CorePool
        Processes of the statistical models.
    """

    request: dict[str, Any]
    season_length: int
    placement: Placement
    weights: Path | None
    pool: CorePool


def build(name: str, setting: Setting) -> Model:
    """Return model `name`; raises ModelWeightsMissing when its weights are not usable."""
    if name in CHRONOS:
        if setting.weights is None:
            raise ModelWeightsMissing(f"{name}: expected weights in the manifest, found none. Start a new run.")
        kind = ChronosFineTuned if name == FINE_TUNED else ChronosZeroShot
        return kind(setting.weights, setting.placement)
    refit = setting.request["refit"]
    match name:
        case "AutoETS":
            return AutoETS(setting.season_length, setting.pool, refit)
        case "AutoARIMA":
            return AutoARIMA(setting.season_length, setting.pool, refit)
        case "DynamicOptimizedTheta":
            return DynamicOptimizedTheta(setting.season_length, setting.pool, refit)
        case "SeasonalNaive":
            return SeasonalNaive(setting.season_length)
    raise LookupError(f"{name} is in the contract and not in the catalog")


def refitted(name: str, request: dict[str, Any]) -> str:
    """Return what of model `name` is estimated when."""
    return REFITTED.get(name) or REFITTED_BY_REQUEST[request["refit"]]


def ignored_covariates(model: Model, request: dict[str, Any]) -> list[str]:
    """Return the covariates of the request that the model makes no use of."""
    named = {PAST: request["past_covariates"], KNOWN: request["known_covariates"]}
    return [column for kind, columns in named.items() if kind not in model.covariates for column in columns]
