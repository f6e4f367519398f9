"""ChronosFineTuned: a Chronos-Bolt or Chronos-2 model, trained further on the run's own series. Runs in the worker."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from contracts.reasons import ModelWeightsMissing
from instance.fine_tuning.checkpoints import FineTuningCheckpoints
from instance.fine_tuning.run import Trainer, fine_tune
from instance.fine_tuning.samples import FlatSeries
from instance.fine_tuning.schedule import PEAK
from instance.fine_tuning.settings import StepReport, TrainingSettings, TrainingSummary
from instance.hardware import Placement, free_memory, training_precision
from instance.models.chronos_folder import BOLT, CONFIG, T5, WEIGHTS, check_folder, family_of, load_pipeline
from instance.models.chronos_zero_shot import ChronosZeroShot

TUNING = "fine_tuning.json"
READABLE_BY_ALL = 0o644


class ChronosFineTuned(ChronosZeroShot):
    """Quantile forecasts of a Chronos model that `train` has adapted to the data.

    Parameters
    ----------
    folder : Path
        config.json and model.safetensors to start from.
    placement : Placement
        Device and dtype of the forecasts; training keeps its weights in float32.

    Raises
    ------
    ModelWeightsMissing
        The folder is not usable, or of the first generation, which cannot be fine-tuned here.
    """

    name = "ChronosFineTuned"

    def __init__(self, folder: Path, placement: Placement) -> None:
        check_folder(folder)
        if family_of(folder) == T5:
            raise ModelWeightsMissing(
                f"{folder.name}: expected weights of Chronos-Bolt or Chronos-2 to fine-tune, found Chronos-T5. "
                "Choose others in chronos_weights, or ask for ChronosZeroShot."
            )
        super().__init__(folder, placement)
        self.tuning: dict[str, Any] = {}

    def train(
        self,
        data: FlatSeries,
        settings: TrainingSettings,
        checkpoints: FineTuningCheckpoints,
        on_step: Callable[[StepReport], None],
    ) -> TrainingSummary:
        """Fine-tune on what is known before the first backtest window, and forecast with the best weights from then on.

        Parameters
        ----------
        data : FlatSeries
            All series.
        settings : TrainingSettings
        checkpoints : FineTuningCheckpoints
            Where an earlier attempt may have left some, and where the tuned weights are kept on this machine.
        on_step : callable
            Called after each step, and once with the step that is resumed from.

        Raises
        ------
        DatasetInvalid
            No series is long enough.
        ModelWeightsMissing
            The settings ask for what this family has not.
        TrainingDiverged, OutOfMemory
            The loss is no number; not even one series fits into memory.
        """
        untuned = self.folder
        self.close()  # makes room for the training's float32 copy
        trainer = self._trainer(untuned, data, settings)
        summary = fine_tune(trainer, settings, checkpoints, on_step)
        tuned = checkpoints.folder / "tuned"
        trainer.tuned().save_pretrained(tuned)
        (tuned / WEIGHTS).chmod(READABLE_BY_ALL)
        del trainer
        free_memory(self.placement.device)
        self._take(tuned)
        self.tuning = {"started_from": untuned.name, **summary.as_dict()}
        return summary

    def save(self, folder: Path) -> None:
        """Write the tuned weights with their configuration, a folder that can be staged in cached-models/ itself."""
        super().save(folder)
        shutil.copyfile(self.folder / WEIGHTS, folder / WEIGHTS)
        (folder / CONFIG).chmod(READABLE_BY_ALL)
        (folder / TUNING).write_text(json.dumps(self.tuning, indent=2))

    @classmethod
    def load(cls, folder: Path, weights: Path, placement: Placement) -> Self:
        """Return the model that `save` wrote; `weights` is `folder`, which holds them.

        Raises
        ------
        ModelWeightsMissing
            The weights are not usable, or not those that were saved.
        """
        loaded = super().load(folder, weights, placement)
        loaded.tuning = json.loads((folder / TUNING).read_text())
        return loaded

    def _trainer(self, folder: Path, data: FlatSeries, settings: TrainingSettings) -> Trainer:
        from instance.fine_tuning.bolt import BoltTrainer  # noqa: PLC0415 - each loads PyTorch
        from instance.fine_tuning.chronos_2 import Chronos2Trainer  # noqa: PLC0415

        name = family_of(folder)
        if (name, settings.mode) not in PEAK:
            raise ModelWeightsMissing(
                f"{folder.name}: expected weights of Chronos-2 for fine_tuning_mode {settings.mode}, found {name}. "
                "Choose fine_tuning_mode full."
            )
        pipeline = load_pipeline(folder, Placement(self.placement.device, "float32"))
        peak = settings.learning_rate or PEAK[name, settings.mode]
        kind = BoltTrainer if name == BOLT else Chronos2Trainer
        return kind(pipeline, data, settings, peak, self.placement, training_precision(self.placement))
