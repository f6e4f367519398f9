"""A folder of Chronos weights: whether it is safe, which family it is, and its pipeline. Runs in the worker."""

import json
from pathlib import Path
from typing import Any

from contracts.reasons import ModelWeightsMissing
from instance.hardware import Placement

CONFIG, WEIGHTS = "config.json", "model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
EXECUTABLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".py")

T5, BOLT, CHRONOS_2 = "Chronos-T5", "Chronos-Bolt", "Chronos-2"
# By the pipeline class and the architecture that config.json names; the first generation names no class.
FAMILIES = {
    ("ChronosPipeline", "T5ForConditionalGeneration"): T5,
    ("ChronosBoltPipeline", "ChronosBoltModelForForecasting"): BOLT,
    ("Chronos2Pipeline", "Chronos2Model"): CHRONOS_2,
}


def check_folder(folder: Path) -> None:
    """Check that `folder` holds Chronos weights that are safe to load.

    Looked at before the loader, whose message for a missing file speaks of the Hugging Face Hub. Pickles and Python
    files run code when they are loaded, so a folder that holds one is refused.

    Raises
    ------
    ModelWeightsMissing
        The folder, config.json or model.safetensors is missing or empty, config.json is not that of a Chronos model,
        there is a file that could run code, or the weights are only an adapter of others.
    """
    if not folder.is_dir():
        raise ModelWeightsMissing(
            f"{folder.name}: expected a folder of Chronos weights, found none. Copy it to cached-models/."
        )
    if (folder / ADAPTER_CONFIG).is_file():
        raise ModelWeightsMissing(
            f"{folder.name}: expected whole weights, found a LoRA adapter ({ADAPTER_CONFIG}). "
            "Merge it into the model it was trained on, and copy the merged folder."
        )
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
    family_of(folder)


def family_of(folder: Path) -> str:
    """Return the generation of Chronos that config.json describes: `T5`, `BOLT` or `CHRONOS_2`.

    Raises
    ------
    ModelWeightsMissing
        It describes another model.
    """
    config = _config(folder)
    try:
        int(config["chronos_config"]["context_length"])
        named = (config.get("chronos_pipeline_class", "ChronosPipeline"), config["architectures"][0])
        return FAMILIES[named]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        found = config.get("architectures") or config.get("model_type") or "nothing of the kind"
        raise ModelWeightsMissing(
            f"{folder.name}: expected a config.json of a Chronos model, with chronos_config.context_length and one of "
            f"the architectures {', '.join(name for _, name in FAMILIES)}, found {found}. Use the folder of a Chronos "
            "model."
        ) from error


def load_pipeline(folder: Path, placement: Placement) -> Any:
    """Return the chronos-forecasting pipeline of a folder that `check_folder` passed.

    Raises
    ------
    ModelWeightsMissing
        The weights do not match the configuration, or are incomplete or corrupt.
    """
    import torch  # noqa: PLC0415 - loaded with the first model, not with the module
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


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text())
    except ValueError as error:
        raise ModelWeightsMissing(f"{folder.name}: {CONFIG} is not JSON: {error}. Copy it again.") from error
    return config if isinstance(config, dict) else {}


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
