"""What several functions do: decide with the core, act through the adapters. Runs in Lambda."""
