"""The stack, one concern a file. Runs at synthesis."""
