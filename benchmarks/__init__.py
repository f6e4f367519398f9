"""Measurements against peers, results as JSON. They run on a developer's computer, never in a run."""
