"""The data that Lambdas and instances agree on: one definition each. Runs in Lambda and on the instance."""
