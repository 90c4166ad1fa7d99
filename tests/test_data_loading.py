"""Loading: what is joined, what is left out, order, standardisation."""

import numpy as np
import pytest
import torch

from scripts.errors import TableError
from scripts.utils.data_loading import Loader, load_items, standardise
from scripts.utils.mels import build_cache
from tests.corpus import SPEC, make_corpus, write_track


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    table = make_corpus(folder)
    write_track(folder / "audio" / "000003.wav", 500, 3, seconds=2.6)
    (folder / "audio" / "000004.wav").write_bytes(b"")
    return table, build_cache(table, folder / "mels", SPEC, workers=1)


def test_items_are_the_usable_clips_in_the_order_of_the_table(corpus):
    table, cache = corpus
    items, left_out = load_items(table.iloc[::-1], cache, "clip")
    assert left_out[["track_id", "status"]].values.tolist() == [["4", "unreadable"]]
    assert items.tracks["track_id"].tolist() == [str(n) for n in range(17, -1, -1) if n != 4]
    assert items.tracks.set_index("track_id")["items"]["3"] == 3
    assert len(items) == 16 * 5 + 3
    position = items.track[40]
    row = cache.rows.loc[items.tracks["track_id"][position], "row"]
    np.testing.assert_array_equal(items.array[items.index[40]], cache.clips[row, 0])


def test_parts_hold_whole_tracks_with_their_own_numbers(corpus):
    items, _ = load_items(corpus[0], corpus[1], "clip")
    parts = {name: items.part(name) for name in ("train", "validation", "test")}
    assert sum(len(part) for part in parts.values()) == len(items)
    for name, part in parts.items():
        assert set(part.tracks["split"]) == {name}
        assert np.bincount(part.track).tolist() == part.tracks["items"].tolist()
        assert (part.tracks["class"].to_numpy()[part.track] == part.labels).all()


def test_whole_tracks_as_items(corpus):
    items, _ = load_items(corpus[0], corpus[1], "track")
    x, y, track = next(iter(Loader(items, 4)))
    assert x.shape == (4, 1, *SPEC.track_shape)
    assert track.tolist() == [0, 1, 2, 3]
    assert y.tolist() == items.tracks["class"][:4].tolist()


def test_order_depends_on_seed_and_epoch_alone(corpus):
    items, _ = load_items(corpus[0], corpus[1], "clip")

    def order(seed: int, epoch: int) -> list[int]:
        loader = Loader(items, 7, shuffle=True, seed=seed)
        loader.set_epoch(epoch)
        return torch.cat([batch.track for batch in loader]).tolist()

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(0, 4)
    assert order(0, 3) != order(1, 3)
    assert sorted(order(0, 3)) == sorted(items.track.tolist())


def test_batches_are_standardised_clips(corpus):
    items, _ = load_items(corpus[0], corpus[1], "clip")
    loader = Loader(items, 8)
    batch = next(iter(loader))
    expected = items.array[items.index[:8]].astype(np.float64)
    mean, deviation = (f(expected, axis=(1, 2), keepdims=True) for f in (np.mean, np.std))
    np.testing.assert_allclose(batch.x[:, 0], (expected - mean) / deviation, atol=1e-4)
    assert len(loader) == -(-len(items) // 8) == sum(1 for _ in loader)


def test_constant_spectrogram_becomes_zeros():
    assert standardise(torch.full((2, 4, 5), -100.0, dtype=torch.float16)).abs().max() == 0


def test_track_outside_the_cache_is_named(corpus):
    table, cache = corpus
    with pytest.raises(TableError, match="such as 999"):
        load_items(table.assign(track_id=["999", *table["track_id"][1:]]), cache, "clip")
