"""How each generation of Chronos turns a batch of rows into quantiles, on its device. Runs in the worker."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from instance.models.bolt_on_cpu import BoltOnCpu
from instance.models.chronos_batches import Batch
from instance.models.chronos_folder import BOLT, T5
from instance.models.interface import KNOWN, PAST, Floats

# Paths that Chronos-2 follows beyond its own horizon; chronos-forecasting 2.3.2, Chronos2Pipeline.predict.
CHRONOS_2_PATHS = 9


class Family(Protocol):
    """One generation of Chronos.

    Parameters
    ----------
    covariates : frozenset of str
        What it uses beside the values.
    levels : list of float
        Levels it was trained on; empty if it draws samples, from which any level can be taken.
    longest : int
        Steps it forecasts in one go.
    threads : int
        Batches that are best computed at once, each in a thread of its own.
    """

    covariates: frozenset[str]
    levels: list[float]
    longest: int
    threads: int

    def rows(self, horizon: int, variates: int) -> int:
        """Return how many rows of a batch one series becomes inside the model."""

    def launch(self, batch: Batch, horizon: int, levels: Sequence[float]) -> Any:
        """Return a tensor (n_series, horizon, n_levels) on the device, perhaps before it is computed."""


def family(name: str, pipeline: Any) -> Family:
    """Return the family `name` of `chronos_folder` around its pipeline."""
    if name == T5:
        return ChronosT5(pipeline)
    return ChronosBolt(pipeline) if name == BOLT else Chronos2(pipeline)


class ChronosT5:
    """The first generation: samples of a language model over bins (Ansari et al. 2024)."""

    covariates: frozenset[str] = frozenset()
    threads = 1

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.levels: list[float] = []
        self.longest = int(pipeline.model_prediction_length)

    def rows(self, horizon: int, variates: int) -> int:
        """Return the number of sample paths; see `Family.rows`."""
        del horizon, variates
        return int(self.pipeline.model.config.num_samples)

    def launch(self, batch: Batch, horizon: int, levels: Sequence[float]) -> Any:
        """Return empirical quantiles of the paths; see `Family.launch`."""
        import torch  # noqa: PLC0415 - loaded with the first model, not with the module

        quantiles, _ = self.pipeline.predict_quantiles(torch.from_numpy(batch.context), horizon, list(levels))
        return quantiles


class ChronosBolt:
    """Quantiles of a whole patch of steps at once.

    Within its own horizon the model is called without the pipeline around it, on a CPU in a form made for it, with a
    batch on each core; beyond, the pipeline's roll-out feeds every quantile back (chronos-forecasting 2.3.2,
    ChronosBoltPipeline.predict).
    """

    covariates: frozenset[str] = frozenset()

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.levels = [float(level) for level in pipeline.quantiles]
        self.longest = int(pipeline.model_prediction_length)
        on_cpu = BoltOnCpu.supports(pipeline.model)
        self.threads = os.cpu_count() or 1 if on_cpu else 1
        self._forward = BoltOnCpu(pipeline.model) if on_cpu else self._model

    def rows(self, horizon: int, variates: int) -> int:
        """Return the number of paths of the roll-out; see `Family.rows`."""
        return variates * (len(self.levels) if horizon > self.longest else 1)

    def launch(self, batch: Batch, horizon: int, levels: Sequence[float]) -> Any:
        """See `Family.launch`."""
        context = on_device(batch.context, self.pipeline.model.device)
        if horizon > self.longest:
            quantiles = self.pipeline.predict(context, prediction_length=horizon)
        else:
            quantiles = self._forward(context)[..., :horizon]
        return interpolated(quantiles, self.levels, levels)

    def _model(self, context: Any) -> Any:
        return self.pipeline.model(context=context).quantile_preds


class Chronos2:
    """Quantiles of groups of rows that see each other: a series and its covariates (Ansari et al. 2025)."""

    covariates: frozenset[str] = frozenset({PAST, KNOWN})
    threads = 1

    def __init__(self, pipeline: Any) -> None:
        self.pipeline = pipeline
        self.levels = [float(level) for level in pipeline.quantiles]
        self.longest = int(pipeline.model_prediction_length)

    def rows(self, horizon: int, variates: int) -> int:
        """Return the rows of a group, times the paths of the roll-out; see `Family.rows`."""
        return variates * (CHRONOS_2_PATHS if horizon > self.longest else 1)

    def launch(self, batch: Batch, horizon: int, levels: Sequence[float]) -> Any:
        """See `Family.launch`."""
        rolled_out = horizon > self.longest
        quantiles = self._rolled_out(batch, horizon) if rolled_out else self._direct(batch, horizon)
        return interpolated(quantiles, self.levels, levels)

    def _direct(self, batch: Batch, horizon: int) -> Any:
        import torch  # noqa: PLC0415

        model, extra = self.pipeline.model, {}
        if batch.future is not None:
            groups = np.repeat(np.arange(len(batch.context) // batch.variates), batch.variates)
            extra["future_covariates"] = on_device(batch.future, model.device)
            extra["group_ids"] = torch.from_numpy(groups).to(model.device)
        patches = -(-horizon // int(self.pipeline.model_output_patch_size))
        context = on_device(batch.context, model.device)
        quantiles = model(context=context, num_output_patches=patches, **extra).quantile_preds
        return quantiles[:: batch.variates, :, :horizon]

    def _rolled_out(self, batch: Batch, horizon: int) -> Any:
        import torch  # noqa: PLC0415

        width, variates = batch.context.shape[1], batch.variates
        nothing = np.full((len(batch.context), horizon), np.nan, dtype=np.float32)
        context = torch.from_numpy(batch.context).reshape(-1, variates, width)
        future = torch.from_numpy(nothing if batch.future is None else batch.future).reshape(-1, variates, horizon)
        known = int((~torch.isnan(future[0]).any(dim=-1)).sum())
        inputs = [
            {
                "context": rows,
                "future_covariates": ahead,
                "n_targets": 1,
                "n_covariates": variates - 1,
                "n_future_covariates": known,
            }
            for rows, ahead in zip(context, future, strict=True)
        ]
        predicted = self.pipeline.predict(inputs, prediction_length=horizon, batch_size=len(batch.context))
        return torch.stack([rows[0] for rows in predicted])


def on_device(rows: Any, device: Any) -> Any:
    """Return the array as a tensor; to a GPU through pinned memory, so that the copy does not stop the computation."""
    import torch  # noqa: PLC0415

    tensor = torch.from_numpy(rows)
    if device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def interpolated(quantiles: Any, trained: Sequence[float], levels: Sequence[float]) -> Any:
    """Return quantiles at `levels` from those at the trained levels, uncrossed.

    Sorting never makes a quantile loss worse (Chernozhukov et al. 2010, proposition 4). Between trained levels the
    quantile function is linear; outside them the outermost one is repeated, as the pipelines do.

    Parameters
    ----------
    quantiles : tensor, shape (n_series, n_trained, horizon)
    trained, levels : sequence of float
        Ascending.

    Returns
    -------
    tensor, shape (n_series, horizon, n_levels)
    """
    import torch  # noqa: PLC0415

    by_step = quantiles.to(torch.float32).transpose(1, 2)
    if by_step.device.type == "cpu":
        crossed = (by_step[..., 1:] < by_step[..., :-1]).any(dim=-1)
        by_step[crossed] = by_step[crossed].sort(dim=-1).values
    else:  # Looking for the few that cross would wait for the GPU.
        by_step = by_step.sort(dim=-1).values
    if list(levels) == list(trained):
        return by_step
    return by_step @ torch.from_numpy(hat_weights(trained, levels)).to(by_step)


def hat_weights(trained: Sequence[float], levels: Sequence[float]) -> Floats:
    """Return (n_trained, n_levels): what each trained quantile counts for in linear interpolation at each level."""
    rows = [np.interp(levels, trained, unit) for unit in np.eye(len(trained))]
    return np.array(rows, dtype=np.float64)
