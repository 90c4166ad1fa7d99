"""Whether probabilities can be believed: calibration error, and the one number that corrects it.

After C. Guo, G. Pleiss, Y. Sun, K. Weinberger: On Calibration of Modern Neural Networks, ICML 2017.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

BINS = 15
TEMPERATURES = (0.05, 20.0)


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> pd.DataFrame:
    """How often predictions of a confidence are right (section 2, p. 2).

    The confidence of a track is its highest probability; the bins (low, high] divide 0 to 1 evenly.

    Parameters
    ----------
    probabilities : [tracks, classes].
    labels : [tracks].

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


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over tracks, in nats, of logits [tracks, classes]."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The number to divide logits by for the likeliest labels (section 4.2, p. 5); above 1 where a network is too sure.

    Fit it on validation tracks and use it on test tracks: predictions stay, probabilities change. It is kept
    within 0.05 and 20: without a single wrong track it would go to 0.
    """
    bounds = np.log(TEMPERATURES)
    best = minimize_scalar(
        lambda log: negative_log_likelihood(logits / np.exp(log), labels),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(np.exp(best.x))


def calibrate(logits: np.ndarray, labels: np.ndarray, temperature: float | None = None) -> dict[str, Any]:
    """Calibration of the mean logits of tracks [tracks, classes], and again after division by `temperature`."""
    before = reliability(softmax(logits, axis=1), labels)
    summary = {"bins": BINS, "ece": calibration_error(before), "reliability": before.round(6).to_dict("records")}
    if temperature is None:
        return summary
    after = reliability(softmax(logits / temperature, axis=1), labels)
    scaled = {"ece_scaled": calibration_error(after), "reliability_scaled": after.round(6).to_dict("records")}
    return summary | {"temperature": temperature} | scaled
