"""Mixing: what is drawn for an item, and what comes out, against the same done to waveforms."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scripts.audio.features import LogMel
from scripts.audio.spec import MelSpec
from scripts.audio.spectrogram_mixing import Mixing, draw_partners, union
from scripts.common.errors import ConfigError

SPEC = MelSpec(sample_rate=22_050, n_fft=2048, hop_length=512, n_mels=64)
ONE_EACH = np.eye(4, dtype=np.float32)
NAN = float("nan")
TIME = np.arange(3 * SPEC.sample_rate) / SPEC.sample_rate


def make(labels: np.ndarray = ONE_EACH, seed: int = 0, genres: list | None = None, **settings) -> Mixing:
    return Mixing(settings, labels, SPEC, seed, genres)


def mix_two(first: np.ndarray, second: np.ndarray, **settings) -> torch.Tensor:
    """[mels, frames], one waveform mixed with another, none of them moved; equally loud unless told."""
    mixing = make(np.eye(2, dtype=np.float32), **{"min_sources": 2, "max_sources": 2, "spread": 0.0} | settings)
    mixing.start.zero_()
    x, others = mel_of(first)[None, None], mel_of(second)[None, None, None]
    return mixing.combine(x, others, torch.tensor([[1.0, 0]]), torch.tensor([[[0, 1.0]]]), np.array([0]))[0][0, 0]


def mel_of(waveform: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(LogMel(SPEC)(waveform.astype(np.float32)).copy())


def notes(hertz: float, seed: int) -> np.ndarray:
    """A tone with overtones and hiss, of mean power 0.01."""
    hiss = 0.01 * np.random.default_rng(seed).standard_normal(len(TIME))
    sound = hiss + sum(np.sin(2 * np.pi * k * hertz * TIME) / k for k in (1, 2, 3))
    return 0.1 * sound / np.sqrt(np.mean(sound**2))


def flat(level: float, items: int = 1) -> torch.Tensor:
    return torch.full((items, 1, SPEC.n_mels, 12), level)


# --- what is drawn ----------------------------------------------------------------------------------------------


@given(st.integers(0, 1000), st.sampled_from(["any", "other", "same_genre"]))
def test_partners_are_others_without_a_common_label(seed, among):
    generator = np.random.default_rng(seed)
    labels = (generator.random((60, 12)) < 0.15).astype(np.float32)
    genres = generator.integers(0, 2, 60)
    mixing = make(labels, seed, list(genres), partners=among, max_sources=3)
    for item, partners in enumerate(mixing.partners(np.arange(60))):
        mixture = [item, *partners[partners >= 0]]
        assert len(set(mixture)) == len(mixture) <= 3
        if among != "any":
            assert labels[mixture].sum(0).max() <= 1
        if among == "same_genre":
            assert len(set(genres[mixture])) == 1


def test_any_partner_may_share_a_label():
    labels = np.ones((8, 1), np.float32)
    assert (make(labels, partners="any", min_sources=3).partners(np.arange(8)) >= 0).all()


@pytest.mark.parametrize("among", ["any", "other"])
def test_a_mixture_has_at_most_so_many_labels(among):
    labels = np.tile(np.eye(12, dtype=np.float32), (5, 1)) + np.roll(np.eye(60, 12, dtype=np.float32), 1, 0)
    labels = np.minimum(labels, 1)  # one or two each
    counts = {}
    for limit in (None, 3):
        mixing = make(labels, partners=among, min_sources=1, max_labels=limit)
        mixtures = ([item, *row[row >= 0]] for item, row in enumerate(mixing.partners(np.arange(60))))
        counts[limit] = max(labels[mixture].any(0).sum() for mixture in mixtures)
    assert counts[3] == 3 < counts[None]


def test_items_of_unknown_genre_are_counted():
    with pytest.raises(ConfigError, match="1 of 4 training items have none"):
        make(genres=["rock", NAN, "rock", "pop"], partners="same_genre")


def test_each_number_of_sources_is_equally_often():
    mixing = make(np.tile(ONE_EACH, (1500, 1)), min_sources=1, max_sources=3)
    sources = 1 + (mixing.partners(np.arange(6000)) >= 0).sum(1)
    assert np.bincount(sources, minlength=4)[1:] == pytest.approx([2000, 2000, 2000], rel=0.08)


def test_partners_are_drawn_evenly():
    partners = draw_partners(ONE_EACH == 1, np.zeros(3000, int), np.full(3000, 2), 2, np.random.default_rng(0))
    assert np.bincount(partners[:, 0], minlength=4) == pytest.approx([0, 1000, 1000, 1000], rel=0.1)


def test_the_one_fitting_partner_is_found():
    labels = np.repeat(np.eye(2), [19, 1], axis=0) == 1
    partners = draw_partners(labels, np.arange(19), np.full(19, 2), 2, np.random.default_rng(0))
    assert partners[:, 0].tolist() == [19] * 19


def test_unknown_labels_keep_no_partner_away():
    labels = np.array([[1, NAN], [NAN, 1]], np.float32)
    assert make(labels, min_sources=2, max_sources=2).partners(np.array([0, 1])).tolist() == [[1], [0]]


def test_a_mixture_depends_on_seed_epoch_and_item_alone():
    labels = np.tile(ONE_EACH, (10, 1))
    x = -40 + 10 * torch.randn(40, 1, SPEC.n_mels, 20, generator=torch.Generator().manual_seed(0))

    def mixture(mixing: Mixing, chosen: list[int]) -> torch.Tensor:
        partners, y = mixing.partners(np.array(chosen)), torch.from_numpy(labels)
        return mixing.combine(x[chosen], x[partners], y[chosen], y[partners], np.array(chosen))[0]

    first, second = make(labels, seed=3, min_sources=2), make(labels, seed=3, min_sources=2)
    second.set_epoch(4)
    assert not torch.equal(mixture(first, [31]), mixture(second, [31]))
    first.set_epoch(4)
    torch.testing.assert_close(mixture(first, [7, 31, 2])[1], mixture(second, [31])[0], rtol=0, atol=1e-4)
    other_seed = make(labels, seed=5, min_sources=2)
    other_seed.set_epoch(4)
    assert not torch.equal(mixture(other_seed, [31]), mixture(second, [31]))


# --- what comes out ---------------------------------------------------------------------------------------------


def test_sum_agrees_with_the_summed_waveforms():
    low, high = notes(220, 0), notes(1900, 1)
    mixed, truth = mix_two(low, high), mel_of(low + high)
    apart = (mel_of(low) - mel_of(high)).abs() > 10
    assert apart.float().mean() > 0.2
    assert (mixed - truth)[apart].abs().mean() < 0.2
    for alone in (low, high):
        assert (mel_of(alone) - truth)[apart].abs().mean() > 5


def test_partner_is_made_as_loud_as_the_item():
    low, high = notes(220, 0), notes(3800, 1)
    soft = mel_of(low + high)
    assert (mix_two(low, 0.05 * high) - soft).abs().mean() < 1
    assert (mix_two(low, 5 * high) - soft).abs().mean() < 1
    assert (mel_of(low + 0.05 * high) - soft).abs().mean() > 4


def test_concatenation_agrees_with_the_joined_waveforms():
    low, high = notes(220, 0), notes(1900, 1)
    mixed = mix_two(low, high, mode="concatenate")
    half = len(TIME) // 2
    truth = mel_of(np.concatenate([low[:half], high[half:]]))
    inside = np.r_[0:62, 68:130]  # windows that touch the joint see both
    assert (mixed - truth)[:, inside].abs().mean() < 1


def test_concatenation_gives_equal_turns_to_those_that_are_there():
    mixing = make(min_sources=1, max_sources=3, mode="concatenate", spread=0.0)
    mixing.drawn = np.array([[-1, -1], [-1, 2], [0, 2], [0, 1]])
    x = (80 * torch.eye(SPEC.n_mels)[:3, :, None] - 80).expand(-1, -1, 12)[:, None]  # source k sounds in row k
    y, y_others = torch.zeros(3, 4), torch.zeros(3, 2, 4)
    mixed, _ = mixing.combine(x[:1].repeat(3, 1, 1, 1), x[None, 1:].repeat(3, 1, 1, 1, 1), y, y_others, np.arange(3))
    heard = mixed[:, 0, :3].argmax(1)
    assert heard.tolist() == [[0] * 12, [0] * 6 + [2] * 6, [0] * 4 + [1] * 4 + [2] * 4]


@pytest.mark.parametrize(("sources", "gain"), [(1, 0.0), (2, 3.0103), (3, 4.7712)])
def test_equally_loud_sources_add_their_powers(sources, gain):
    mixing = make(min_sources=sources, max_sources=3, spread=0.0)
    mixing.drawn[0] = [1 if place < sources - 1 else -1 for place in range(2)]
    others = torch.stack([flat(-70.0), flat(10.0)], 1)
    mixed, _ = mixing.combine(flat(-40.0), others, torch.zeros(1, 4), torch.zeros(1, 2, 4), np.array([0]))
    torch.testing.assert_close(mixed, flat(-40.0 + gain), atol=1e-3, rtol=0)


@pytest.mark.parametrize("moves", [(6, -6), (-6, 6), (0, 6)])
def test_pitch_moves_each_source_by_itself(moves):
    """Two tones four octaves apart, each in its half of the rows, end where tones of these pitches have their peaks."""
    mixing = make(np.eye(2, dtype=np.float32), min_sources=2, max_sources=2, spread=0.0, pitch=6.0)
    mixing.start.zero_()
    mixing.shift[0, :, 0] = torch.tensor([(move + 6) / 12 for move in moves])
    tones = [mel_of(0.1 * np.sin(2 * np.pi * hertz * TIME)) for hertz in (300, 4800)]
    mixed, _ = mixing.combine(
        tones[0][None, None], tones[1][None, None, None], torch.eye(2)[:1], torch.eye(2)[None, 1:], np.array([0])
    )
    for half, hertz, move in zip((slice(0, 24), slice(24, 64)), (300, 4800), moves, strict=True):
        expected = mel_of(0.1 * np.sin(2 * np.pi * hertz * 2 ** (move / 12) * TIME))[half].mean(1).argmax()
        assert abs(int(mixed[0, 0, half].mean(1).argmax() - expected)) <= 1
    assert torch.equal(make(pitch=3.0, seed=5).shift, make(pitch=3.0, seed=5).shift)
    assert make(np.tile(ONE_EACH, (500, 1))).shift.unique().numel() > 5000


def test_gain_stays_within_the_spread_and_fills_it():
    items = 400
    mixing = make(np.tile(ONE_EACH, (items // 4, 1)), min_sources=2, max_sources=2, spread=6.0)
    x, y = flat(-40.0, items), torch.zeros(items, 4)
    mixed, _ = mixing.combine(x, flat(-60.0, items)[:, None], y, y[:, None], np.arange(items))
    partner = 10 * np.log10(10 ** (mixed[:, 0, 0, 0].double().numpy() / 10) - 1e-4) + 40
    assert -6.01 <= partner.min() < -5.8 and 5.8 < partner.max() <= 6.01


def test_a_source_starts_anywhere_and_goes_on_from_its_beginning():
    mixing = make(np.tile(ONE_EACH, (50, 1)), min_sources=1, max_sources=2)
    alone = np.flatnonzero(mixing.partners(np.arange(200))[:, 0] < 0)
    ramp = torch.arange(12.0).expand(len(alone), 1, SPEC.n_mels, 12).contiguous() - 60
    y = torch.zeros(len(alone), 4)
    mixed, _ = mixing.combine(ramp, ramp[:, None], y, y[:, None], alone)
    first = (mixed[:, 0, 0, 0] + 60).round().long()
    assert set(first.tolist()) == set(range(12))
    expected = (first[:, None] + torch.arange(12)) % 12 - 60.0
    torch.testing.assert_close(mixed[:, 0, 5], expected, atol=1e-3, rtol=0)


def test_range_is_that_of_the_cache_in_each_channel():
    mixing = make(min_sources=1, max_sources=2)
    mixing.drawn[0] = -1
    x = torch.full((1, 3, SPEC.n_mels, 12), -95.0)
    x[0, :, 3, 5] = torch.tensor([10.0, -30.0, -60.0])
    mixed, _ = mixing.combine(x, x[:, None], torch.zeros(1, 4), torch.zeros(1, 1, 4), np.array([0]))
    assert mixed.amin((2, 3))[0].tolist() == pytest.approx([-70.0, -95.0, -95.0], abs=1e-3)
    assert mixed.amax((2, 3))[0].tolist() == pytest.approx([10.0, -30.0, -60.0], abs=1e-3)


# --- labels -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sources", "there", "expected"),
    [
        ([0, 0], [True, True], 0),
        ([0, 1], [True, True], 1),
        ([1, 1], [True, True], 1),
        ([NAN, 1], [True, True], 1),
        ([1, NAN], [True, True], 1),
        ([0, NAN], [True, True], NAN),
        ([NAN, NAN], [True, True], NAN),
        ([0, 1], [True, False], 0),
        ([0, NAN], [True, False], 0),
    ],
)
def test_a_mixture_has_the_labels_of_all_its_sources(sources, there, expected):
    found = union(torch.tensor(sources).reshape(1, 2, 1).float(), torch.tensor([there]))
    torch.testing.assert_close(found, torch.tensor([[float(expected)]]), equal_nan=True)


def test_combined_labels_are_those_of_the_partners_that_are_there():
    mixing = make(min_sources=1, max_sources=3)
    mixing.drawn = np.array([[1, -1], [-1, -1]])
    y, y_others = torch.eye(4)[:2], torch.eye(4)[torch.tensor([[1, 3], [2, 3]])]
    x = flat(-40.0, 2)
    _, labels = mixing.combine(x, x[:, None].repeat(1, 2, 1, 1, 1), y, y_others, np.array([0, 1]))
    assert labels.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0]]


# --- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_source": 2}, "did you mean 'min_sources'"),
        ({"mode": "add"}, "known: sum, concatenate"),
        ({"partners": "others"}, "did you mean 'other'"),
        ({"min_sources": 3, "max_sources": 2}, "3 to 2 sources"),
        ({"min_sources": 0}, "0 to 3 sources"),
        ({"max_sources": 2.5}, "2.5 sources"),
        ({"min_sources": 1, "max_sources": 1}, "max_sources at least 2"),
        ({"spread": -1}, "at least 0"),
        ({"spread": "loud"}, "must be a number"),
        ({"pitch": -1}, "pitch=-1; it must be a number of semitones"),
        ({"partners": "same_genre"}, "needs the genre of each item; 4 of 4 training items have none"),
        ({"max_labels": 0}, "max_labels=0; it must be a whole number, at least 1"),
        ({"max_labels": True}, "max_labels=True"),
        ({"min_sources": 3, "max_labels": 2}, "set max_sources=2 .*or raise max_labels"),
        ({"min_sources": 5, "max_sources": 5}, "no 5 of the 4 training items.*set max_sources=4"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_one_class_only_is_an_error():
    with pytest.raises(ConfigError, match="add items of other labels"):
        make(np.ones((20, 1), np.float32))


def test_cepstra_cannot_be_added():
    with pytest.raises(ConfigError, match="kind=mfcc"):
        Mixing({}, ONE_EACH, MelSpec(kind="mfcc"), 0)


def test_stacked_spectrograms_cannot_be_moved_in_pitch():
    Mixing({"pitch": 0}, ONE_EACH, MelSpec(kind="stack"), 0)
    with pytest.raises(ConfigError, match="kind stack; set mix.pitch=0"):
        Mixing({"pitch": 1}, ONE_EACH, MelSpec(kind="stack"), 0)
