"""The fault matrix: every AWS call of a run, and everything around a run, made to fail. Runs on a person's machine."""
