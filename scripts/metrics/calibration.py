"""Whether probabilities can be believed: calibration error, and the one number that corrects it.

After C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import softmax

BINS = 15
TEMPERATURES = (0.05, 20.0)
NOT_IDENTIFIED = "temperature not identified: on validation none between {:g} and {:g} is best".format(*TEMPERATURES)


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """How often predictions of a confidence are correct (section 2, p. 2).

    The confidence of a track is its highest probability; the bins (low, high] divide 0 to 1 evenly.

    Parameters
    ----------
    probabilities : [tracks, classes].
    labels : int [tracks], class numbers.
    bins : how many.

    Returns
    -------
    One row per bin that has tracks: low, high, tracks, confidence (mean), accuracy (share correct).
    """
    edges = np.linspace(0, 1, bins + 1)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    rows = pd.DataFrame({"bin": number, "confidence": confidence, "accuracy": correct}).groupby("bin")
    means, used = rows.mean(), sorted(set(number))
    columns = {"low": edges[used], "high": edges[1:][used], "tracks": rows.size()}
    return means.assign(**columns)[["low", "high", "tracks", "confidence", "accuracy"]].reset_index(drop=True)


def calibration_error(table: pd.DataFrame) -> float:
    """Expected calibration error of a `reliability` table: the mean gap, weighted by tracks (eq. 3, p. 2); 0 to 1."""
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float(np.average(gaps, weights=table["tracks"]))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The number to divide logits by for the likeliest labels (section 4.2, p. 5); above 1 where a network is too sure.

    Fit it on validation tracks and use it on test tracks: predictions stay, probabilities change. The likelihood has
    one maximum, where its slope over the inverse of the temperature is zero.

    Returns
    -------
    None where that is not between 0.05 and 20: without a single wrong track the best temperature is 0, and where the
    logits say nothing of the labels there is none.
    """
    steepest, flattest = (slope(1 / end, logits, labels) for end in TEMPERATURES)
    if not flattest < 0 < steepest:
        return None
    return 1 / brentq(slope, 1 / TEMPERATURES[1], 1 / TEMPERATURES[0], (logits, labels))


def slope(inverse: float, logits: np.ndarray, labels: np.ndarray) -> float:
    """Of the negative log-likelihood over the inverse of the temperature, which it rises with."""
    above = logits - np.take_along_axis(logits, labels[:, None], axis=1)
    return float((softmax(inverse * logits, axis=1) * above).sum(axis=1).mean())


def calibrate(
    logits: np.ndarray, labels: np.ndarray, validation: tuple[np.ndarray, np.ndarray] | None = None
) -> dict[str, Any]:
    """Calibration of the mean logits of tracks [tracks, classes], and again after division by a temperature.

    Parameters
    ----------
    logits, labels : of the tracks that are scored.
    validation : logits and labels that the temperature is fitted on; without them there is none, and where they do
        not tell one it is None, with `temperature_note`.
    """
    before = reliability(softmax(logits, axis=1), labels)
    summary = {"bins": BINS, "ece": calibration_error(before), "reliability": before.round(6).to_dict("records")}
    if validation is None:
        return summary
    temperature = fit_temperature(*validation)
    if temperature is None:
        return summary | {"temperature": None, "temperature_note": NOT_IDENTIFIED}
    after = reliability(softmax(logits / temperature, axis=1), labels)
    scaled = {"ece_scaled": calibration_error(after), "reliability_scaled": after.round(6).to_dict("records")}
    return summary | {"temperature": temperature} | scaled
