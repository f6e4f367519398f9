"""ChronosZeroShot: a pretrained Chronos model from a local folder, not trained further. Runs in the worker."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from contracts.reasons import ModelWeightsMissing, OutOfMemory
from instance.checksums import file_sha256
from instance.hardware import Placement, free_memory, is_out_of_memory
from instance.models.chronos_batches import Histories
from instance.models.chronos_families import Family, family
from instance.models.chronos_folder import CONFIG, WEIGHTS, check_folder, family_of, load_pipeline
from instance.models.interface import Floats, Forecast, OnProgress, Panel
from instance.models.torch_threads import executor

USED = "weights.json"
# Rows in one call of the model. On a CPU 32 rows of 512 values for each core stay in its cache.
ROWS = {"cuda": 512, "cpu": 64}
ROWS_IN_A_THREAD = 32
BATCHES_AHEAD = 1
MEDIAN = 0.5

Indices = npt.NDArray[np.intp]


class ChronosZeroShot:
    """Quantile forecasts of a pretrained Chronos model (Ansari et al. 2024).

    Parameters
    ----------
    folder : Path
        config.json and model.safetensors.
    placement : Placement
        Device and dtype.

    Raises
    ------
    ModelWeightsMissing
        The folder is not usable.
    """

    name = "ChronosZeroShot"

    def __init__(self, folder: Path, placement: Placement) -> None:
        check_folder(folder)
        self.placement = placement
        self._take(folder)

    def _take(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline: Any = load_pipeline(folder, self.placement)
        self.family: Family = family(family_of(folder), self.pipeline)
        self.context_length = int(self.pipeline.model_context_length)
        self.threads = executor(self.family.threads)
        self.rows = ROWS[self.placement.device] if self.family.threads == 1 else ROWS_IN_A_THREAD

    @property
    def covariates(self) -> frozenset[str]:
        """Which covariates this generation of Chronos uses; see `Model.covariates`."""
        return self.family.covariates

    def forecast(
        self, windows: Sequence[Panel], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> list[Forecast]:
        """Forecast all windows together, series of like length in one batch; see `Model.forecast`.

        A series whose forecast is not finite (float16 ends at 65,504) holds its last value and is among the failures.

        Raises
        ------
        OutOfMemory
            Not even one series fits into memory.
        """
        histories = Histories.of(windows, self.covariates, self.context_length)
        ascending = sorted({*levels, MEDIAN})
        quantiles = np.empty((len(histories.values), horizon, len(ascending)))
        for indices, computed in self._computed(histories, horizon, ascending):
            quantiles[indices] = computed.cpu().numpy()
            on_progress(len(indices))
        failures = _hold_last_values(quantiles, histories.values)
        asked = [ascending.index(level) for level in levels]
        return [
            Forecast(
                point=np.ascontiguousarray(quantiles[first:end, :, ascending.index(MEDIAN)]),
                quantiles=quantiles[first:end][..., asked],
                failures={i - first: failures[i] for i in range(first, end) if i in failures},
            )
            for first, end in _spans(windows)
        ]

    def _computed(self, histories: Histories, horizon: int, levels: Sequence[float]) -> Iterator[tuple[Indices, Any]]:
        """Yield indices and quantiles of each batch; meanwhile the next ones are prepared and computed."""
        waiting: deque[tuple[Indices, Future[Any]]] = deque()
        order, start = histories.order(), 0
        while start < len(order):
            indices = order[start : start + self._series_at_once(histories, horizon)]
            start += len(indices)
            waiting.append((indices, self.threads.submit(self._launch, histories, indices, horizon, levels)))
            if len(waiting) > BATCHES_AHEAD * self.family.threads:
                ready, quantiles = waiting.popleft()
                yield ready, quantiles.result()
        for ready, quantiles in waiting:
            yield ready, quantiles.result()

    def _series_at_once(self, histories: Histories, horizon: int) -> int:
        return max(1, self.rows // self.family.rows(horizon, histories.variates))

    def _launch(self, histories: Histories, indices: Indices, horizon: int, levels: Sequence[float]) -> Any:
        """Return the quantiles of some series, in parts where memory has turned out to be too small for all of them."""
        import torch  # noqa: PLC0415 - loaded with the first model, not with the module

        at_once = self._series_at_once(histories, horizon)
        if len(indices) > at_once:
            parts = (indices[i : i + at_once] for i in range(0, len(indices), at_once))
            return torch.cat([self._launch(histories, part, horizon, levels) for part in parts])
        try:
            with torch.inference_mode():
                return self.family.launch(histories.batch(indices, horizon), horizon, levels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self._use_fewer_rows(len(indices), self.family.rows(horizon, histories.variates), error)
        return self._launch(histories, indices, horizon, levels)

    def _use_fewer_rows(self, series: int, rows_each: int, error: Exception) -> None:
        if series == 1:
            raise OutOfMemory(
                f"{self.name}: expected room for one series of {self.context_length} values on the "
                f"{self.placement.device}, found: {str(error)[:200]}. Use smaller weights or a shorter horizon."
            ) from error
        self.rows = min(self.rows, max(1, series // 2) * rows_each)
        free_memory(self.placement.device)

    def save(self, folder: Path) -> None:
        """Write the configuration, and which weights were used in which format."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_bytes((self.folder / CONFIG).read_bytes())
        used = {
            "weights": self.folder.name,
            "weights_sha256": file_sha256(self.folder / WEIGHTS),
            "device": self.placement.device,
            "dtype": self.placement.dtype,
            "context_length": self.context_length,
        }
        (folder / USED).write_text(json.dumps(used, indent=2))

    @classmethod
    def load(cls, folder: Path, weights: Path, placement: Placement) -> Self:
        """Return the model that `save` described, from a copy of its weights.

        Raises
        ------
        ModelWeightsMissing
            `weights` is not usable, or not what the saved model used.
        """
        used = json.loads((folder / USED).read_text())
        model = cls(weights, placement)
        found = file_sha256(weights / WEIGHTS)
        if found != used["weights_sha256"]:
            raise ModelWeightsMissing(
                f"{weights.name}: expected the weights {used['weights']} with SHA-256 {used['weights_sha256']}, "
                f"found {found}. Copy the folder that the run used."
            )
        return model

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say what the weights were not trained for; see `Model.caveats`."""
        said = []
        trained = self.family.levels
        outside = [level for level in levels if trained and not min(trained) <= level <= max(trained)]
        if outside:
            said.append(
                f"quantiles {', '.join(map(str, outside))} lie outside the levels {min(trained):g} to "
                f"{max(trained):g} of the weights and repeat the outermost one, so their intervals are too narrow."
            )
        if horizon > self.family.longest:
            said.append(
                f"steps beyond {self.family.longest} are forecast from the model's own forecasts and less reliable."
            )
        return said

    def close(self) -> None:
        """Drop the weights; once more does nothing, as after a training that failed."""
        self.threads.shutdown(cancel_futures=True)
        for held in ("pipeline", "family"):
            self.__dict__.pop(held, None)
        free_memory(self.placement.device)


def _spans(windows: Sequence[Panel]) -> list[tuple[int, int]]:
    """Return begin and end of each window among the histories."""
    ends = np.cumsum([len(panel) for panel in windows]).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _hold_last_values(quantiles: Floats, values: Sequence[Floats]) -> dict[int, str]:
    """Overwrite the forecasts that are not finite (n, horizon, levels), and say which and why."""
    failed = np.flatnonzero(~np.isfinite(quantiles).all(axis=(1, 2)))
    for i in failed.tolist():
        quantiles[i] = values[i][-1]
    return dict.fromkeys(failed.tolist(), "the forecast was not finite; the last value is held instead")
