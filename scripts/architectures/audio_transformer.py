"""AST: a transformer on patches of a mel spectrogram, which it computes from waveforms itself."""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from scripts.architectures.hub import SAMPLE_RATE, check_waveforms, load_network, make_config
from scripts.audio.spec import MelSpec
from scripts.common.cli import require
from scripts.common.errors import ConfigError
from scripts.models import Network, Pretraining, register

PUBLISHED = "MIT/ast-finetuned-audioset-10-10-0.4593"
ARCHITECTURE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "patch_size",
    "qkv_bias",
    "frequency_stride",
    "time_stride",
    "max_length",
    "num_mel_bins",
)
AUDIOSET_CLASSES = 527
AUDIOSET_MEAN, AUDIOSET_SD = -4.2677393, 4.5689974  # of the log-mels of its training clips


@register("ast")
class AudioTransformer(Network):
    """Audio Spectrogram Transformer on waveforms of 16,000 Hz.

    Y. Gong, Y.-A. Chung, J. Glass. AST: Audio Spectrogram Transformer. Interspeech 2021. It looks at the first
    `max_length` frames of 10 ms, 10.24 s with the published weights, and pads shorter clips to as many.

    Parameters
    ----------
    classes : number of logits.
    frames : samples of a clip, at least 400; any other such length is accepted later.
    mels, in_channels : 1 each.
    config : settings of transformers' ASTConfig where they differ from the published network's, as
        {"num_hidden_layers": 2}.
    pretrained : True takes the published weights, trained on AudioSet, from the hub; a path takes those of a folder in
        the hub's layout; another name of the hub takes those.
    audioset_rows : for each class, in order, the row of the pretrained AudioSet classifier (0 to 526) that the head
        starts from, so that it tags without training; `scripts.datasets.irmas.IRMAS_ROWS` has those of IRMAS.

    Raises
    ------
    ConfigError : input that is no waveform, wrong rows, or weights that are no folder and cannot be downloaded.
    CheckpointError : a folder of weights that is incomplete, damaged or another network's.
    """

    pretraining = Pretraining(
        PUBLISHED,
        MelSpec(sample_rate=SAMPLE_RATE, kind="waveform", track_seconds=30.0, clip_seconds=10.0, min_seconds=1.0),
        "BSD-3-Clause",
        "AudioSet, sounds of YouTube videos, on images before that; which songs of a test set are in it is unknown",
        architecture=ARCHITECTURE,
    )

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 1,
        in_channels: int = 1,
        config: dict[str, Any] | None = None,
        pretrained: bool | str = False,
        audioset_rows: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        check_waveforms(frames, mels, in_channels)
        rows = None if audioset_rows is None else check_rows(audioset_rows, classes)
        require("transformers", what="this network")
        from transformers import ASTConfig, ASTForAudioClassification, ASTModel

        full = make_config(ASTConfig, config, num_labels=AUDIOSET_CLASSES)
        kind = ASTModel if rows is None else ASTForAudioClassification
        network: Any = load_network(kind, full, pretrained, PUBLISHED, ARCHITECTURE)
        self.backbone = network if rows is None else network.audio_spectrogram_transformer
        norm, linear = nn.LayerNorm(full.hidden_size, full.layer_norm_eps), nn.Linear(full.hidden_size, classes)
        self.head = nn.Sequential(norm, linear)
        if rows is not None:
            copy_rows(network.classifier, norm, linear, rows)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 1, samples] -> [batch, hidden_size]."""
        return self.backbone(self.spectrograms(x)).pooler_output

    def hidden_layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The patches as they enter the first layer, and as they leave each."""
        states = self.backbone(self.spectrograms(x), output_hidden_states=True).hidden_states
        return [state[:, 2:] for state in states]  # the first two are no patches

    def spectrograms(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 1, samples] -> [batch, max_length, num_mel_bins]."""
        config: Any = self.backbone.config
        return log_mels(x.flatten(1), config.num_mel_bins, config.max_length)


def log_mels(waveforms: torch.Tensor, mels: int, frames: int) -> torch.Tensor:
    """Kaldi's log-mel spectrograms as AST was trained on: [batch, samples] -> [batch, frames, mels], on its device."""
    from torchaudio.compliance import kaldi

    one = functools.partial(kaldi.fbank, sample_frequency=SAMPLE_RATE, window_type="hanning", num_mel_bins=mels)
    with torch.autocast(waveforms.device.type, enabled=False):
        spectrograms = torch.vmap(one)(waveforms.float()[:, None])[:, :frames]
    padded = F.pad(spectrograms, (0, 0, 0, frames - spectrograms.shape[1]))
    return (padded - AUDIOSET_MEAN) / (2 * AUDIOSET_SD)


def check_rows(rows: Sequence[int], classes: int) -> list[int]:
    """The rows as a list: as many as classes, each of the AudioSet classifier."""
    if len(rows) != classes or not set(rows) <= set(range(AUDIOSET_CLASSES)):
        raise ConfigError(
            f"audioset_rows={list(rows)} for {classes} classes; give one row for each, from 0 to {AUDIOSET_CLASSES - 1}"
        )
    return list(rows)


@torch.no_grad()
def copy_rows(classifier: Any, norm: nn.LayerNorm, linear: nn.Linear, rows: list[int]) -> None:
    """Make a head of both layers give the logits that the AudioSet classifier gives in these rows."""
    norm.load_state_dict(classifier.layernorm.state_dict())
    linear.weight.copy_(classifier.dense.weight[rows])
    linear.bias.copy_(classifier.dense.bias[rows])
