"""Fine-tuning of Chronos models on the data of a run, with checkpoints that another machine can go on from."""
