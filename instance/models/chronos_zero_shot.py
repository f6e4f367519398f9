"""ChronosZeroShot: a pretrained Chronos pipeline from a local folder, not trained further. Runs in the worker."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contracts.reasons import ModelWeightsMissing
from instance.checksums import file_sha256
from instance.hardware import Placement
from instance.models.interface import Floats, Forecast, OnProgress

CONFIG, WEIGHTS = "config.json", "model.safetensors"
EXECUTABLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py")
BATCH_SIZE = {"cuda": 512, "cpu": 128}
NARROWEST_BATCH = 1


def check_folder(folder: Path) -> None:
    """Check that `folder` holds Chronos weights that are safe to load.

    Looked at before the loader, whose message for a missing file speaks of the Hugging Face Hub. Pickles and Python
    files run code when they are loaded, so a folder that holds one is refused.

    Raises
    ------
    ModelWeightsMissing
        config.json or model.safetensors is missing or empty, config.json is not a Chronos configuration, or there is a
        file that could run code.
    """
    for name in (CONFIG, WEIGHTS):
        path = folder / name
        if not path.is_file() or not path.stat().st_size:
            raise ModelWeightsMissing(f"{folder.name}: expected {name}, found none. Copy it to cached-models/.")
    unsafe = sorted(path.name for path in folder.iterdir() if path.suffix in EXECUTABLE_SUFFIXES)
    if unsafe:
        raise ModelWeightsMissing(
            f"{folder.name}: expected config.json and safetensors only, found {unsafe[0]}, which can run code. "
            "Convert it to safetensors and remove it."
        )
    _chronos_config(folder)


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
        self.folder = folder
        self.placement = placement
        self.pipeline = _load(folder, placement)
        self.context_length = int(_chronos_config(folder)["context_length"])

    def forecast(
        self, history: Sequence[Floats], horizon: int, levels: Sequence[float], on_progress: OnProgress
    ) -> Forecast:
        """Forecast in batches of left-padded tensors; see `Model.forecast`.

        Series of like length share a batch, so that a long one does not pad the others. A series whose forecast is not
        finite (float16 ends at 65,504) counts as failed, and holds its last value there.
        """
        point = np.empty((len(history), horizon))
        quantiles = np.empty((len(history), horizon, len(levels)))
        failed = 0
        order = np.argsort([len(values) for values in history], kind="stable")
        size = BATCH_SIZE[self.placement.device]
        for start in range(0, len(order), size):
            batch = order[start : start + size]
            quantiles[batch], point[batch], overflowed = self._batch([history[i] for i in batch], horizon, levels)
            failed += overflowed
            on_progress(len(batch))
        return Forecast(point=point, quantiles=quantiles, failed=failed)

    def save(self, folder: Path, ids: Sequence[str], final: Forecast) -> None:
        """Write the configuration, and which weights were used in which format."""
        del ids, final
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_bytes((self.folder / CONFIG).read_bytes())
        used = {
            "weights": self.folder.name,
            "weights_sha256": file_sha256(self.folder / WEIGHTS),
            "device": self.placement.device,
            "dtype": self.placement.dtype,
            "context_length": self.context_length,
        }
        (folder / "weights.json").write_text(json.dumps(used, indent=2))

    def caveats(self, horizon: int, levels: Sequence[float]) -> list[str]:
        """Say what the weights were not trained for; see `Model.caveats`."""
        said = []
        trained = [] if self._samples else list(self.pipeline.quantiles)
        outside = [level for level in levels if trained and not min(trained) <= level <= max(trained)]
        if outside:
            said.append(
                f"quantiles {', '.join(map(str, outside))} lie outside the levels {min(trained):g} to "
                f"{max(trained):g} of the weights and repeat the outermost one, so their intervals are too narrow."
            )
        longest = int(self.pipeline.model_prediction_length)
        if horizon > longest:
            said.append(f"steps beyond {longest} are forecast from the model's own forecasts and less reliable.")
        return said

    def close(self) -> None:
        """Drop the weights."""
        del self.pipeline

    def _batch(self, history: list[Floats], horizon: int, levels: Sequence[float]) -> tuple[Floats, Floats, int]:
        import torch  # noqa: PLC0415 - loaded with the first model, not with the module
        from chronos import Chronos2Pipeline  # noqa: PLC0415

        context = torch.from_numpy(_left_padded(history, self.context_length))
        if isinstance(self.pipeline, Chronos2Pipeline):
            context = context[:, None, :]  # (batch, variates, width): every series is a task of its own
        ascending = sorted({*levels, 0.5})
        raw, _ = self.pipeline.predict_quantiles(context, prediction_length=horizon, quantile_levels=ascending)
        stacked = torch.stack(list(raw)) if isinstance(raw, list) else raw
        values = stacked.reshape(len(history), horizon, len(ascending)).to(torch.float64).cpu().numpy()
        # A model's quantiles may cross; sorting never makes a quantile loss worse (Chernozhukov et al. 2010).
        failed = int((~np.isfinite(values)).any(axis=(1, 2)).sum())
        values = np.sort(_without_nan(values, history), axis=-1)
        asked = [ascending.index(level) for level in levels]
        return values[..., asked], values[..., ascending.index(0.5)], failed

    @property
    def _samples(self) -> bool:
        """Whether the model draws samples, from which any quantile can be taken, as the first Chronos models do."""
        from chronos import ChronosPipeline  # noqa: PLC0415

        return isinstance(self.pipeline, ChronosPipeline)


def _load(folder: Path, placement: Placement) -> Any:
    import torch  # noqa: PLC0415
    from chronos import BaseChronosPipeline  # noqa: PLC0415
    from safetensors import SafetensorError  # noqa: PLC0415

    try:
        pipeline = BaseChronosPipeline.from_pretrained(
            str(folder), device_map=placement.device, dtype=getattr(torch, placement.dtype), local_files_only=True
        )
        _refuse_random_weights(folder, pipeline)
        return pipeline
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelWeightsMissing(
            f"{folder.name}: expected weights that match config.json, found: {str(error)[:300]}. Copy them again."
        ) from error


def _refuse_random_weights(folder: Path, pipeline: Any) -> None:
    """Raise KeyError for a weight that the file lacks: the loader fills it with random numbers and only warns."""
    from safetensors import safe_open  # noqa: PLC0415

    with safe_open(folder / WEIGHTS, framework="pt") as file:
        stored = set(file.keys())
    weights = pipeline.inner_model.state_dict()
    # Tied weights are stored once: those share their memory with one that is stored.
    loaded = {weights[name].data_ptr() for name in stored & set(weights)}
    missing = sorted(name for name, weight in weights.items() if weight.data_ptr() not in loaded)
    if missing:
        raise KeyError(f"no weight {missing[0]} in {WEIGHTS}")


def _chronos_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text())["chronos_config"]
        int(config["context_length"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelWeightsMissing(
            f"{folder.name}: expected a config.json with chronos_config.context_length, found another document. "
            "Use the folder of a Chronos model."
        ) from error
    return config


def _left_padded(history: list[Floats], context_length: int) -> Any:
    """Stack the ends of the series, shorter ones padded with NaN on the left: (batch, width <= context_length)."""
    tails = [values[-context_length:] for values in history]
    width = max(NARROWEST_BATCH, *(len(tail) for tail in tails))
    padded = np.full((len(tails), width), np.nan, dtype=np.float32)
    for row, tail in zip(padded, tails, strict=True):
        row[width - len(tail) :] = tail
    return padded


def _without_nan(values: Floats, history: list[Floats]) -> Floats:
    """Replace what is not finite by the last value known: (batch, horizon, levels)."""
    last = np.array([series[-1] for series in history])[:, np.newaxis, np.newaxis]
    return np.where(np.isfinite(values), values, last)
