"""Follow a run and see what it gave. Runs on a person's machine, against AWS or the embedded cloud."""
