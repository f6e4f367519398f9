"""Rolling-origin windows: what a model may see at each cutoff. Pure. Runs in the worker."""

from instance.models.interface import Panel
from instance.series import SeriesSet


def cutoff(length: int, window: int, n_windows: int, horizon: int) -> int:
    """Return how many values of a series of `length` are known in `window`.

    Windows are `horizon` steps long and follow each other; the last one, `n_windows - 1`, ends at the last value.
    Window `n_windows` is the forecast beyond the data and knows everything.
    """
    return length - (n_windows - window) * horizon


def panels(series: SeriesSet, n_windows: int) -> list[Panel]:
    """Return the panels of every window, the one that knows everything last.

    Values are copies that end at the cutoff, so that no model can see or change what comes after it. Covariates known
    in advance reach `prediction_length` steps further.
    """
    return [_panel(series, window, n_windows) for window in range(n_windows + 1)]


def _panel(series: SeriesSet, window: int, n_windows: int) -> Panel:
    horizon = series.prediction_length
    known_steps = [cutoff(len(values), window, n_windows, horizon) for values in series.values]
    return Panel(
        ids=series.ids,
        values=[values[:end].copy() for values, end in zip(series.values, known_steps, strict=True)],
        season_length=series.season_length,
        past=series.past and [past[:, :end].copy() for past, end in zip(series.past, known_steps, strict=True)],
        known=series.known
        and [known[:, : end + horizon].copy() for known, end in zip(series.known, known_steps, strict=True)],
    )
