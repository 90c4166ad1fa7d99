"""From which probability on a label counts as predicted: chosen on validation, never on test."""

from collections.abc import Callable

import numpy as np

from scripts.common.cli import pick

HALF = 0.5


def best_thresholds(truth: np.ndarray, probabilities: np.ndarray, method: str) -> np.ndarray:
    """A threshold for each label; a label is predicted where its probability is at least its threshold.

    Thresholds lie halfway between two neighbouring probabilities of the tracks, and every such place is tried, so
    none gives a higher F1. Of equally good ones the highest is taken.

    Parameters
    ----------
    truth : [tracks, labels] of validation, with 1 present, 0 absent and NaN unknown.
    probabilities : [tracks, labels].
    method : "half" (0.5), "global" (the same for all labels, with the highest macro F1), or "label" (for each label
        with its highest F1; a label without positives takes the global one).

    Returns
    -------
    float [labels]; 0.5 where there is nothing to choose by.

    Raises
    ------
    ConfigError : an unknown `method`.
    """
    rule = RULES[pick("choice of thresholds", method, RULES)]
    return rule(np.asarray(truth, float), np.asarray(probabilities, float))


def not_identified(truth: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray, method: str) -> np.ndarray:
    """The labels whose threshold says little: no track is known to have them, or none lies below the threshold.

    Parameters
    ----------
    truth, probabilities, method : as `best_thresholds` was given them. thresholds : [labels], what it returned.

    Returns
    -------
    bool [labels]; with "global" all or none, and none with "half", which is not chosen.
    """
    if method == "half":
        return np.zeros(truth.shape[1], bool)
    present, below = truth == 1, ~np.isnan(truth) & (probabilities < thresholds)
    if method == "global":
        return np.full(truth.shape[1], not (present.any() and below.any()))
    return ~(present.any(axis=0) & below.any(axis=0))


def half(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return np.full(truth.shape[1], HALF)


def one_for_all(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The macro F1 of any threshold is the sum of the steps that each label's F1 has taken down to there."""
    scored = (truth == 1).any(axis=0)
    if not scored.any():
        return half(truth, probabilities)
    falling, f1 = f1_curves(truth[:, scored], probabilities[:, scored])
    steps = np.diff(f1, axis=0, prepend=0)
    order = np.argsort(-falling, axis=None)
    best = best_cuts(falling.ravel()[order, None], steps.ravel()[order, None].cumsum(axis=0))
    return np.full(truth.shape[1], best)


def one_per_label(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    result, scored = one_for_all(truth, probabilities), (truth == 1).any(axis=0)
    if scored.any():
        result[scored] = best_cuts(*f1_curves(truth[:, scored], probabilities[:, scored]))
    return result


RULES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "half": half,
    "global": one_for_all,
    "label": one_per_label,
}


def f1_curves(truth: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each label's probabilities from the highest down, and its F1 if all down to there are predicted.

    Both are [tracks, labels]; unknown entries come with probability 0 and change no F1.
    """
    known, present = ~np.isnan(truth), truth == 1
    probabilities = np.where(known, probabilities, 0)
    order = np.argsort(-probabilities, axis=0)
    predicted = np.take_along_axis(known, order, axis=0).cumsum(axis=0)
    hits = np.take_along_axis(present, order, axis=0).cumsum(axis=0)
    f1 = 2 * hits / (predicted + present.sum(axis=0))
    return np.take_along_axis(probabilities, order, axis=0), f1


def best_cuts(falling: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The threshold of each column with the highest score.

    Parameters
    ----------
    falling : probabilities [rows, columns], from the highest down.
    scores : [rows, columns], the score if all rows down to there are predicted.
    """
    below = np.concatenate([falling[1:], np.zeros_like(falling[:1])])
    possible = falling > below  # equal probabilities cannot be parted
    possible[-1] = True
    best = np.where(possible, scores, -1).argmax(axis=0)
    high, low = falling[best, range(falling.shape[1])], below[best, range(falling.shape[1])]
    middle = (high + low) / 2
    return np.where(middle > low, middle, high)
