"""What the model names of a request mean to the controller and to the instance. Runs everywhere."""

ENSEMBLE = "Ensemble"
FINE_TUNED = "ChronosFineTuned"
# These compute on the GPU, from the weights that the request names.
CHRONOS = ("ChronosZeroShot", FINE_TUNED)


def needs_weights(models: list[str]) -> bool:
    """Return whether any of the models starts from Chronos weights."""
    return any(name in CHRONOS for name in models)


def members(models: list[str]) -> list[str]:
    """Return the models that forecast by themselves, without the ensemble that weighs them."""
    return [name for name in models if name != ENSEMBLE]
