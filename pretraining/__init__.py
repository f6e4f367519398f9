"""Pretrain a small Chronos-Bolt model on synthetic series alone, on a developer's computer, never in a run."""
