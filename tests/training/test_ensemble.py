"""The ensemble buffer: any order, whole tracks only, errors by name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.common.errors import EnsembleError
from scripts.training.ensemble import EnsembleBuffer


def make_clips(counts: list[int], classes: int = 3, seed: int = 0):
    generator = np.random.default_rng(seed)
    tracks = np.repeat(np.arange(len(counts)), counts)
    return generator.normal(size=(len(tracks), classes)).astype(np.float32), tracks % classes, tracks


def feed(buffer: EnsembleBuffer, logits, labels, tracks, order, batch: int):
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        buffer.add(logits[chosen], labels[chosen], tracks[chosen])
    return buffer.result()


@given(counts=st.lists(st.integers(1, 10), min_size=1, max_size=8), batch=st.integers(1, 25), seed=st.integers(0, 1000))
def test_mean_of_each_track_in_any_order_and_batch_size(counts, batch, seed):
    logits, labels, tracks = make_clips(counts, seed=seed)
    order = np.random.default_rng(seed).permutation(len(tracks))
    means, truth = feed(EnsembleBuffer(counts), logits, labels, tracks, order, batch)
    for track in range(len(counts)):
        np.testing.assert_allclose(means[track], logits[tracks == track].astype(float).mean(0), atol=1e-6)
        assert truth[track] == track % 3


def test_ten_clips_by_hand():
    logits = np.array([[1.0, 0.0]] * 6 + [[0.0, 4.0]] * 4, np.float32)
    buffer = EnsembleBuffer(10)
    buffer.add(logits, np.zeros(10, int), np.zeros(10, int))
    means, _ = buffer.result()
    np.testing.assert_allclose(means, [[0.6, 1.6]])  # the majority of clips says 0, the mean of logits says 1


def test_incomplete_track_is_named():
    logits, labels, tracks = make_clips([10, 10])
    buffer = EnsembleBuffer(10, ["000002", "000005"])
    buffer.add(logits[:-3], labels[:-3], tracks[:-3])
    with pytest.raises(EnsembleError, match="track 000005 has 7 of 10 clips"):
        buffer.result()


def test_mixed_labels_are_named():
    logits, labels, tracks = make_clips([4])
    labels[2] = 2
    with pytest.raises(EnsembleError, match=r"track 000002 has clips of the classes \[0, 2\]"):
        EnsembleBuffer(4, ["000002"]).add(logits, labels, tracks)


def test_mixed_labels_across_batches_are_found():
    buffer = EnsembleBuffer(2)
    buffer.add(np.zeros((1, 2)), np.array([0]), np.array([7]))
    with pytest.raises(EnsembleError, match="track 7"):
        buffer.add(np.zeros((1, 2)), np.array([1]), np.array([7]))


def test_too_many_clips_are_refused():
    logits, labels, tracks = make_clips([4])
    buffer = EnsembleBuffer(2)
    with pytest.raises(EnsembleError, match="more than its 2 clips"):
        buffer.add(logits, labels, tracks)


def test_nothing_to_score():
    with pytest.raises(EnsembleError, match="no track to score"):
        EnsembleBuffer().result()
