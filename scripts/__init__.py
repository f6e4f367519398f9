"""Programs that people and the Makefile start by hand. They run on a developer's computer."""
