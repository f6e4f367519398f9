"""Bootstrap over series: how far a figure would move with another draw of series. Pure. Runs in the worker."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Weights of a block of resamples take 16 MB, whatever the number of series.
WEIGHTS_AT_ONCE = 2_000_000


def resampled_sums(values: Floats, n_resamples: int, seed: int) -> Floats:
    """Sum columns over series drawn with replacement, as many as there are, again and again.

    Every column is summed over the same draws, so that figures made of different columns can be compared in pairs.

    Parameters
    ----------
    values : float64 array, shape (n_series, n_columns)
        At least one series.
    n_resamples, seed : int
        Draws, and what they depend on beside the number of series.

    Returns
    -------
    float64 array, shape (n_resamples, n_columns)

    Notes
    -----
    Efron (1979), "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7(1). A series that is drawn
    k times has weight k, so a resample is a row of weights times the columns.
    """
    random = np.random.default_rng(seed)
    block = max(1, WEIGHTS_AT_ONCE // len(values))
    sums = [
        _weights(random, min(block, n_resamples - done), len(values)) @ values for done in range(0, n_resamples, block)
    ]
    return np.concatenate(sums)


def percentile_interval(resampled: Floats, n_series: int, confidence: float) -> tuple[Floats, Floats]:
    """Return the ends of the expanded percentile interval of each column.

    Parameters
    ----------
    resampled : float64 array, shape (n_resamples, n_columns)
        A figure in every resample; NaN where it is not defined, which is left out.
    n_series : int
        Series that were resampled, at least 2.
    confidence : float
        Such as 0.95.

    Notes
    -----
    Hesterberg (2015), "What Teachers Should Know About the Bootstrap", American Statistician 69(4): the percentile
    interval of a small sample is too narrow, by sqrt((n - 1) / n) and by the normal quantile in the place of
    Student's. Percentiles further out make up for both; with many series they are the usual ones.
    """
    from scipy.special import ndtr, stdtrit  # type: ignore[import-untyped]  # noqa: PLC0415 - slow to import

    # Student's quantile and the normal distribution; scipy.stats has them too, and takes ten times as long to import.
    outside = stdtrit(n_series - 1, (1 - confidence) / 2) * np.sqrt(n_series / (n_series - 1))
    tail = float(ndtr(outside))
    low, high = np.nanquantile(resampled, [tail, 1 - tail], axis=0)
    return low, high


def _weights(random: np.random.Generator, rows: int, n_series: int) -> Floats:
    """How often each series is drawn in each of some resamples, shape (rows, n_series)."""
    drawn = random.integers(0, n_series, size=(rows, n_series))
    drawn += np.arange(rows)[:, np.newaxis] * n_series
    return np.bincount(drawn.ravel(), minlength=rows * n_series).reshape(rows, n_series).astype(np.float64)
