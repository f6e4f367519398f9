"""python -m pretraining: pretrain, or go on with, a small Chronos-Bolt model. Runs on a developer's computer."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pretraining.curriculum import MIXED_FROM
from pretraining.settings import Settings, SettingsChangedError

REPORT_STEPS, CHECKPOINT_STEPS = 300, 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Train with the budget given on the command line; prints progress."""
    parser = argparse.ArgumentParser(prog="python -m pretraining", description=__doc__)
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument("--minutes", type=float, help="minutes of work (default: 90)")
    budget.add_argument("--steps", type=int, help="steps instead of minutes: the same weights on every run")
    parser.add_argument("--out", type=Path, default=Path("build/pretraining"), help="folder (default: %(default)s)")
    parser.add_argument("--weights", type=Path, help="folder of weights to go on with, instead of random ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="processor cores to use (default: %(default)s)")
    options = parser.parse_args(arguments)

    import torch  # noqa: PLC0415 - seconds to import; --help is answered without it

    from pretraining.train import Budget, Training  # noqa: PLC0415 - imports what needs torch

    torch.set_num_threads(options.threads)
    allowed = Budget(steps=options.steps) if options.steps else Budget(minutes=options.minutes or 90.0)
    # Weights that were trained before have learnt what the first part of the curriculum teaches.
    allowed = replace(allowed, begins=MIXED_FROM if options.weights else 0.0)
    try:
        training = Training(replace(Settings(), seed=options.seed), allowed, options.out, options.weights)
    except SettingsChangedError as error:
        print(f"pretraining: {error}", file=sys.stderr)
        return 1
    summary = training.run(lambda line: print(line, flush=True), REPORT_STEPS, CHECKPOINT_STEPS)
    print(f"{summary['parameters']} parameters, {summary['steps']} steps; weights in {options.out / 'model'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
