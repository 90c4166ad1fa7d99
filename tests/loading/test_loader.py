"""Loading: what is joined, what is left out, order, standardisation."""

import numpy as np
import pytest
import torch

from scripts.audio.augment import Augmentation
from scripts.audio.build_cache import build_cache
from scripts.audio.normalise import normalise, standardise
from scripts.common.errors import TableError
from scripts.loading.loader import Loader, load_items
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


def test_image_has_256_greys_from_least_to_greatest():
    x = torch.tensor([[[-80.0, -40.0, 0.0]]], dtype=torch.float16)
    assert normalise(x, "image").flatten().tolist() == pytest.approx([0, 128 / 255, 1])  # 127.5 is rounded to even


def test_power_is_linear():
    x = torch.tensor([[[-30.0, 0.0, 20.0]]], dtype=torch.float16)
    assert normalise(x, "power").flatten().tolist() == pytest.approx([0.001, 1, 100])


def test_decibels_stay_as_they_are():
    assert normalise(torch.tensor([[[-30.5]]], dtype=torch.float16), "none").item() == -30.5


def test_crops_are_cut_from_anywhere_in_the_audio(corpus):
    items, _ = load_items(corpus[0], corpus[1], "crop")
    loader = Loader(items, 16, shuffle=True, seed=3, normalisation="none")
    frames, starts = SPEC.clip_shape[1], set()
    for x, _, track in loader:
        for piece, position in zip(x[:, 0].numpy(), track.tolist(), strict=True):
            row = items.tracks["row"][position]
            whole = corpus[1].tracks[row].astype(np.float32)
            places = [s for s in range(whole.shape[1] - frames + 1) if (whole[:, s : s + frames] == piece).all()]
            starts.update(places)
            assert places and places[0] <= items.tracks["frames"][position] - frames
    assert len(starts) > 50


def test_cuts_depend_on_seed_epoch_and_item_alone(corpus):
    items, _ = load_items(corpus[0], corpus[1], "crop")

    def cut(batch_size: int, epoch: int) -> torch.Tensor:
        loader = Loader(items, batch_size, shuffle=True, seed=1, normalisation="none")
        loader.set_epoch(epoch)
        return torch.cat([batch.x for batch in loader])

    assert torch.equal(cut(5, 2), cut(16, 2))
    assert not torch.equal(cut(5, 2), cut(5, 3))


def test_testing_takes_the_fixed_clips(corpus):
    crops, _ = load_items(corpus[0], corpus[1], "crop")
    clips, _ = load_items(corpus[0], corpus[1], "clip")
    both = zip(Loader(crops, 16), Loader(clips, 16), strict=True)
    assert all(torch.equal(one.x, other.x) for one, other in both)


def test_augmented_batches_are_normalised_and_mixed(corpus):
    items, _ = load_items(corpus[0], corpus[1], "clip")
    augmentation = Augmentation({"noise": {}, "mixup": {}}, SPEC, len(items), seed=0)
    x, y, _ = next(iter(Loader(items, 8, shuffle=True, augmentation=augmentation)))
    assert x.shape == (8, 1, *SPEC.clip_shape) and y.shape == (8, 3)
    assert x.mean((1, 2, 3)).abs().max() < 1e-3
    assert y.sum(1).tolist() == pytest.approx([1] * 8)


@pytest.mark.parametrize("batch_size", [7, 41])
def test_ranks_share_every_batch(corpus, batch_size):
    """Each has its part of what one process has, mixed with its neighbours there; the last ones may have none."""
    items, _ = load_items(corpus[0], corpus[1], "crop")

    def loader(**shares: int) -> Loader:
        augmentation = Augmentation({"mixup": {}, "tempo": {}}, SPEC, len(items), seed=1)
        return Loader(items, batch_size, shuffle=True, seed=1, augmentation=augmentation, **shares)

    loaders = [loader(rank=rank, ranks=3) for rank in range(3)]
    assert [len(one) for one in loaders] == [len(loader())] * 3
    for whole, *shares in zip(loader(), *loaders, strict=True):
        counts = [len(share.y) for share in shares]
        assert max(counts) - min(counts) <= 1 and min(len(share.x) for share in shares) == max(1, min(counts))
        for place, values in enumerate(whole):
            parts = [share[place][:count] for share, count in zip(shares, counts, strict=True)]
            torch.testing.assert_close(torch.cat(parts), values, rtol=0, atol=0)


def test_ranks_share_a_test_by_whole_tracks(corpus):
    items, _ = load_items(corpus[0], corpus[1], "clip")
    shares = [list(Loader(items, 8, rank=rank, ranks=3)) for rank in range(3)]
    tracks = [torch.cat([batch.track for batch in share]).tolist() for share in shares]
    assert sum(tracks, []) == items.track.tolist() and all(tracks)
    assert sum(len(set(share)) for share in tracks) == len(items.tracks)
    assert not list(Loader(items.select(np.arange(len(items.tracks)) < 2), 8, rank=2, ranks=3))


def test_track_outside_the_cache_is_named(corpus):
    table, cache = corpus
    with pytest.raises(TableError, match="such as 999"):
        load_items(table.assign(track_id=["999", *table["track_id"][1:]]), cache, "clip")
