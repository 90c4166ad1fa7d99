"""Fitted heads against scikit-learn's own classifiers, and the statistics of rows against librosa's cepstra."""

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import PredefinedSplit, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from scripts.architectures.fitted import HEADS, NEIGHBOURS, Fitted, RowStatistics
from scripts.audio.features import LogMel
from scripts.audio.spec import MelSpec
from scripts.baselines.descriptors import mel_statistics
from scripts.common.errors import ConfigError
from scripts.models import build_model
from scripts.training.classifiers import fit_head, make_classifier

CLASSES = 3


def draw(classes: int = CLASSES, tracks: int = 24, width: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two embeddings a track, of very different scales, their classes and tracks."""
    random = np.random.default_rng(0)
    track = np.repeat(np.arange(tracks), 2)
    labels = track % classes
    values = random.normal(size=(len(track), width)) + labels[:, None] * np.array([2, -2, 0, 0, 1, 0])[:width]
    return values * 10.0 ** np.arange(width) + 50, labels, track


def answer(name: str, values: np.ndarray, labels: np.ndarray, track: np.ndarray, classes: int = CLASSES) -> np.ndarray:
    """The logits of a fitted head for the values it was fitted to."""
    head = HEADS[name](values.shape[1], classes)
    head.load_state_dict(fit_head(name, values, labels, track, classes))
    return head(torch.as_tensor(values, dtype=torch.float32)).numpy()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["lda", "logistic"])
def test_linear_heads_have_the_probabilities_of_scikit_learn(name: str, classes: int) -> None:
    values, labels, track = draw(classes)
    expected = make_classifier(name).fit(values, labels).predict_proba(values)
    np.testing.assert_allclose(softmax(answer(name, values, labels, track, classes), axis=1), expected, atol=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_perceptrons_have_the_probabilities_of_scikit_learn(classes: int) -> None:
    """Of all classes, and of each label where one is unknown of every second track; nobody has the last label."""
    values, labels, track = draw(classes)
    scaled = (values - values.mean(axis=0)) * (1 / values.std(axis=0))
    model = make_classifier("mlp")[-1]
    expected = model.fit(scaled, labels).predict_proba(scaled)
    np.testing.assert_allclose(softmax(answer("mlp", values, labels, track, classes), axis=1), expected, atol=1e-4)
    known = track % 4 < 2
    truth = np.stack([np.where(known, labels == 0, np.nan), labels == 1, labels == 9], 1)
    probabilities = expit(answer("mlp", values, truth, track))
    expected = np.stack(
        [
            model.fit(scaled[known], labels[known] == 0).predict_proba(scaled)[:, 1],
            model.fit(scaled, labels == 1).predict_proba(scaled)[:, 1],
            np.full(len(values), 1e-3),
        ],
        axis=1,
    )
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


def test_neighbours_are_those_of_scikit_learn() -> None:
    values, labels, track = draw()
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(NEIGHBOURS)).fit(values, labels)
    count = model.predict_proba(values) * NEIGHBOURS
    expected = np.log((count + 1) / (NEIGHBOURS - count + 1))
    np.testing.assert_allclose(answer("nearest", values, labels, track), expected, atol=1e-5)


def test_a_machine_for_each_class_has_platts_probabilities() -> None:
    values, labels, track = draw()
    scaled = StandardScaler().fit_transform(values)
    truth, fold = labels[::2] == 1, np.empty(24, int)
    for number, (_, held_out) in enumerate(StratifiedKFold(5).split(truth, truth)):
        fold[held_out] = number
    svm = SVC(kernel="rbf", C=10, gamma=1 / values.shape[1])
    model = CalibratedClassifierCV(svm, ensemble=False, cv=PredefinedSplit(fold[track])).fit(scaled, labels == 1)
    expected = model.predict_proba(scaled)[:, 1]
    np.testing.assert_allclose(expit(answer("svm", values, labels, track)[:, 1]), expected, atol=1e-4)


@pytest.mark.parametrize("name", HEADS)
def test_a_number_that_is_nothing_but_rounding_says_nothing(name: str) -> None:
    """Such as the mean of the zeroth cepstrum, which is zero but for the last bits of a sum."""
    values, labels, track = draw(width=3)
    rounding = 1e-5 * np.random.default_rng(1).normal(size=(len(values), 1))
    head = HEADS[name](4, CLASSES)
    head.load_state_dict(fit_head(name, np.hstack([values, rounding]), labels, track, CLASSES))
    below, above = (np.hstack([values, sign * np.ones_like(rounding)]) for sign in (-1, 1))
    logits = [head(torch.as_tensor(inputs, dtype=torch.float32)) for inputs in (below, above)]
    torch.testing.assert_close(*logits)


@pytest.mark.parametrize("name", HEADS)
def test_of_several_labels_the_unknown_are_left_out(name: str) -> None:
    """Label 0 is unknown of every second track: its logits are those of a fit without them; nobody has label 2."""
    values, labels, track = draw(2)
    truth = np.stack([labels == 0, labels == 1, labels == 9], 1).astype(float)
    unknown = track % 4 >= 2
    truth[unknown, 0] = np.nan
    logits = answer(name, values, truth, track)
    assert ((logits[~unknown, 0] > 0) == (labels[~unknown] == 0)).mean() > 0.85
    assert ((logits[:, 1] > 0) == (labels == 1)).mean() > 0.85
    assert (expit(logits[:, 2]) < 0.2).all()
    if name in ("lda", "logistic"):
        scaled = StandardScaler().fit_transform(values)
        model = make_classifier(name)[-1].fit(scaled[~unknown], truth[~unknown, 0])
        np.testing.assert_allclose(logits[:, 0], model.decision_function(scaled), atol=1e-3)


def test_statistics_are_those_of_the_descriptors() -> None:
    spec = MelSpec(sample_rate=22_050)
    waveform = np.random.default_rng(0).normal(size=66_150).astype(np.float32) * np.linspace(0, 0.3, 66_150, dtype="f4")
    mel = torch.from_numpy(LogMel(spec)(waveform))[None, None]
    values = RowStatistics(128)(torch.cat([mel, mel + 20])).numpy()
    expected = [*mel_statistics(waveform).values()]
    np.testing.assert_allclose(values[0], expected, atol=2e-3)
    np.testing.assert_allclose(values[1], values[0], atol=1e-3)  # the level does not count
    model = build_model("fitted", 3, mel.shape[3], 128, network="row_statistics", statistics=False)
    np.testing.assert_array_equal(model.embed(mel).numpy(), values[:1])


def test_nothing_is_trained_and_the_own_head_is_left_out() -> None:
    model = build_model("fitted", 3, 33, 32, network="cnn4", classifier="svm")
    assert isinstance(model, Fitted) and not any(weight.requires_grad for weight in model.parameters())
    assert not any("network.head" in name for name in model.state_dict())
    assert model(torch.zeros(2, 1, 32, 33)).shape == (2, 3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"classifier": "forest"}, "unknown classifier 'forest'.*known: lda, logistic, svm, mlp, nearest"),
        ({"network": "fitted"}, "a fitted head on a fitted head"),
        ({"network": "cnn"}, "unknown model 'cnn'"),
    ],
)
def test_wrong_settings(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_model("fitted", 3, 33, 32, **{"network": "cnn4"} | settings)
