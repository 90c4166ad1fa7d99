"""Classical classifiers by name, and what they learn as the tensors of a network's head."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from scripts.common.cli import pick
from scripts.common.errors import ConfigError

CLASSIFIERS: dict[str, Callable[[int, str | None], ClassifierMixin]] = {  # by name, of a seed and a class weight
    "svm": lambda seed, weight: SVC(kernel="rbf", C=10, gamma="scale", class_weight=weight, random_state=seed),
    "logistic": lambda seed, weight: LogisticRegression(max_iter=2000, class_weight=weight, random_state=seed),
    # a shrunk covariance (Ledoit and Wolf, 2004): for more features than tracks
    "lda": lambda seed, weight: LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "boosting": lambda seed, weight: HistGradientBoostingClassifier(class_weight=weight, random_state=seed),
    "forest": lambda seed, weight: RandomForestClassifier(300, class_weight=weight, random_state=seed),
    "mlp": lambda seed, weight: MLPClassifier((64,), solver="lbfgs", alpha=1, max_iter=2000, random_state=seed),
    "nearest": lambda seed, weight: KNeighborsClassifier(1),  # knows its tracks by heart, and gains most from a leak
}
TREES = {"boosting", "forest"}  # which do not see the scale of a feature
UNWEIGHTED = {"lda", "mlp", "nearest"}
FOLDS = 5  # of the training tracks, for the probabilities of support vector machines
ROUNDING = 1e-5  # share of the greatest deviation, below which one is that of rounding
FEWEST = 1e-3  # probability of what the training data do not have


def make_classifier(name: str, seed: int = 0, balanced: bool = False) -> Pipeline:
    """A new classifier, its features standardised where their scale matters.

    Parameters
    ----------
    name : "svm" (RBF kernel, C 10), "logistic", "lda" (shrunk covariance), "boosting", "forest" (300 trees),
        "mlp" (one hidden layer of 64) or "nearest" (one neighbour).
    seed : of what is random in fitting.
    balanced : weigh every class alike, however many rows it has.

    Raises
    ------
    ConfigError : an unknown name, or `balanced` for "lda", "mlp" or "nearest", which have no weights.
    """
    model = CLASSIFIERS[pick("classifier", name, CLASSIFIERS)](seed, class_weight(name, balanced))
    return make_pipeline(model) if name in TREES else make_pipeline(StandardScaler(), model)


def class_weight(name: str, balanced: bool) -> str | None:
    """As scikit-learn takes it; raises as `make_classifier`."""
    if balanced and name in UNWEIGHTED:
        weighted = ", ".join(sorted(CLASSIFIERS.keys() - UNWEIGHTED))
        raise ConfigError(f"{name} cannot weigh classes; leave out the balance or choose one of {weighted}")
    return "balanced" if balanced else None


def calibrate_svm(machine: ClassifierMixin, values: np.ndarray, track: np.ndarray, truth: np.ndarray) -> Any:
    """Fit a machine to all tracks, and the sigmoid that makes probabilities of its scores (Platt, 1999).

    The sigmoid is fitted to scores of tracks that the machine has not seen, in up to five folds of whole tracks.

    Parameters
    ----------
    machine : a support vector machine, or a pipeline that ends in one.
    values : float [rows, features].
    track : int [rows], the track 0, 1, ... of each row.
    truth : [tracks], 1 or 0, at least two of each.

    Returns
    -------
    A fitted CalibratedClassifierCV.
    """
    fold, folds = np.empty(len(truth), int), min(FOLDS, *np.bincount(truth.astype(int)))
    for number, (_, held_out) in enumerate(StratifiedKFold(folds).split(truth, truth)):
        fold[held_out] = number
    model = CalibratedClassifierCV(machine, method="sigmoid", ensemble=False, cv=PredefinedSplit(fold[track]))
    return model.fit(values, truth[track])


# --- heads --------------------------------------------------------------------------------------------------


def fit_head(
    name: str,
    values: np.ndarray,
    labels: np.ndarray,
    track: np.ndarray,
    classes: int,
    seed: int = 0,
    balanced: bool = False,
) -> dict[str, torch.Tensor]:
    """Fit a classifier to embeddings, and return it as the state of a `scripts.architectures.fitted.Head`.

    Parameters
    ----------
    name : "lda", "logistic", "svm", "mlp" or "nearest".
    values : float [items, width].
    labels : int [items], class numbers; or float [items, labels], 1, 0 or NaN for unknown, which a label's fit leaves
        out. What fewer than two tracks have, or lack, gets its share of the tracks as probability.
    track : int [items], the track of each item.
    classes : number of logits.
    seed, balanced : as `make_classifier`.

    Raises
    ------
    ConfigError : as `make_classifier`.
    """
    weight = class_weight(name, balanced)
    mean, deviation = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    says_something = deviation > ROUNDING * deviation.max()
    gain = np.divide(1, deviation, out=np.zeros_like(deviation), where=says_something)
    state, scaled = {"mean": mean, "gain": gain}, (values - mean) * gain
    if name == "nearest":
        truth = np.eye(classes)[labels] if labels.ndim == 1 else labels
        state |= {"vectors": scaled, "present": np.nan_to_num(truth), "known": ~np.isnan(truth)}
    elif name == "svm":
        state |= fit_machines(scaled, labels, track, classes, seed, weight)
    elif name == "mlp":
        state |= fit_perceptrons(CLASSIFIERS[name](seed, weight), scaled, labels, track, classes)
    else:
        state |= fit_linear(CLASSIFIERS[name](seed, weight), scaled, labels, track, classes)
    return {key: torch.as_tensor(np.asarray(value, np.float32)) for key, value in state.items()}


def fit_linear(
    model: ClassifierMixin, values: np.ndarray, labels: np.ndarray, track: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """Weights [classes, width] and biases [classes] of a classifier of all classes, or of one for each label."""
    if labels.ndim == 1:
        model.fit(values, labels)
        return spread_classes(model.classes_, model.coef_, model.intercept_, classes)
    weight, bias = np.zeros((classes, values.shape[1])), np.zeros(classes)
    for label, (known, truth, share) in enumerate(each_label(labels, track)):
        if share is not None:
            bias[label] = share
        else:
            model.fit(values[known], truth)
            weight[label], bias[label] = model.coef_[0], model.intercept_[0]
    return {"weight": weight, "bias": bias}


def fit_perceptrons(
    model: ClassifierMixin, values: np.ndarray, labels: np.ndarray, track: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """A perceptron of all classes; or one for each label, whose hidden units stand side by side."""
    if labels.ndim == 1:
        model.fit(values, labels)
        (hidden, last), (offset, intercepts) = model.coefs_, model.intercepts_
        return {"hidden": hidden.T, "offset": offset} | spread_classes(model.classes_, last.T, intercepts, classes)
    [units], width = model.hidden_layer_sizes, values.shape[1]
    hidden, offset = np.zeros((classes, units, width)), np.zeros((classes, units))
    weight, bias = np.zeros((classes, classes, units)), np.zeros(classes)
    for label, (known, truth, share) in enumerate(each_label(labels, track)):
        if share is not None:
            bias[label] = share
        else:
            model.fit(values[known], truth)
            hidden[label], weight[label, label] = model.coefs_[0].T, model.coefs_[1][:, 0]
            offset[label], bias[label] = model.intercepts_[0], model.intercepts_[1][0]
    all_units = {"hidden": hidden.reshape(-1, width), "offset": offset.reshape(-1)}
    return all_units | {"weight": weight.reshape(classes, -1), "bias": bias}


def spread_classes(
    found: np.ndarray, coefficients: np.ndarray, intercepts: np.ndarray, classes: int
) -> dict[str, np.ndarray]:
    """Weights [classes, inputs] and biases [classes] of the logits, where scikit-learn has a single row of two classes.

    `found` are the numbers of the classes that were there to learn.
    """
    weight, bias = np.zeros((classes, coefficients.shape[1])), np.full(classes, np.log(FEWEST))
    if len(found) == 2:
        coefficients, intercepts = (np.concatenate([-one, one]) / 2 for one in (coefficients, intercepts))
    weight[found], bias[found] = coefficients, intercepts
    return {"weight": weight, "bias": bias}


def fit_machines(
    values: np.ndarray, labels: np.ndarray, track: np.ndarray, classes: int, seed: int, weight: str | None
) -> dict[str, np.ndarray]:
    """A support vector machine for each class or label against the others, with the sigmoid of its probabilities."""
    coefficients, bias = np.zeros((classes, len(values))), np.zeros(classes)
    slope, offset = np.zeros(classes), np.full(classes, np.log(FEWEST))
    gamma = 1 / values.shape[1]
    truths = labels if labels.ndim == 2 else (labels[:, None] == np.arange(classes)).astype(float)
    for label, (known, truth, share) in enumerate(each_label(truths, track)):
        if share is not None:
            offset[label] = share
            continue
        machine = SVC(kernel="rbf", C=10, gamma=gamma, class_weight=weight, random_state=seed)
        tracks, place = np.unique(track[known], return_inverse=True)
        of_track = truth[np.unique(place, return_index=True)[1]]
        [fitted] = calibrate_svm(machine, values[known], place, of_track).calibrated_classifiers_
        support = np.flatnonzero(known)[fitted.estimator.support_]
        coefficients[label, support], bias[label] = fitted.estimator.dual_coef_[0], fitted.estimator.intercept_[0]
        slope[label], offset[label] = -fitted.calibrators[0].a_, -fitted.calibrators[0].b_
    used = coefficients.any(axis=0)
    machines = {"vectors": values[used], "coefficients": coefficients[:, used], "bias": bias}
    return machines | {"gamma": np.array(gamma), "slope": slope, "offset": offset}


def each_label(labels: np.ndarray, track: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, float | None]]:
    """Of each label: the items of which it is known, whether they have it, and its log-odds if too few do to learn."""
    found = []
    for column in labels.T:
        known = ~np.isnan(column)
        truth = column[known]
        present, absent = (len(np.unique(track[known][truth == value])) for value in (1, 0))
        share = np.clip(present / max(1, present + absent), FEWEST, 1 - FEWEST)
        found.append((known, truth, None if min(present, absent) >= 2 else float(np.log(share / (1 - share)))))
    return found
