"""wav2vec2: convolutions on the waveform and a transformer on what they make of it."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from scripts.architectures.heads import AttentionPooling, DeepHead
from scripts.architectures.hub import SAMPLE_RATE, check_waveforms, load_network, make_config
from scripts.audio.spec import MelSpec
from scripts.common.cli import pick, require
from scripts.models import Network, Pretraining, register

PUBLISHED = "facebook/wav2vec2-base"
ARCHITECTURE = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "hidden_act",
    "layer_norm_eps",
    "do_stable_layer_norm",
    "feat_extract_norm",
    "feat_extract_activation",
    "conv_dim",
    "conv_kernel",
    "conv_stride",
    "conv_bias",
    "num_conv_pos_embeddings",
    "num_conv_pos_embedding_groups",
)
PARTS = ("all", "features")
AVERAGES: dict[str, Callable[..., torch.Tensor]] = {"mean": torch.mean, "max": torch.amax}


@register("wav2vec2")
class Wav2Vec2(Network):
    """wav2vec 2.0 on waveforms of 16,000 Hz, whole or only its convolutions, pooled over time.

    A. Baevski, H. Zhou, A. Mohamed, M. Auli. wav2vec 2.0: A Framework for Self-Supervised Learning of Speech
    Representations. NeurIPS 2020. In training it neither masks time steps nor skips layers, unless `config` says so.

    Parameters
    ----------
    classes : number of logits.
    frames : samples of a clip, at least 400; any other such length is accepted later.
    mels, in_channels : 1 each.
    part : "all", or "features" for the convolutional feature extractor alone.
    pooling : of the steps of 20 ms, "mean", "max" or "attention".
    config : settings of transformers' Wav2Vec2Config where they differ from the published network's, as
        {"num_hidden_layers": 2}.
    pretrained : True takes the published weights from the hub, learned from speech; a path takes those of a folder in
        the hub's layout; another name of the hub takes those.
    widths, dropout : of the `DeepHead`.

    Raises
    ------
    ConfigError : input that is no waveform, an unknown name, or weights that are no folder and cannot be downloaded.
    CheckpointError : a folder of weights that is incomplete, damaged or another network's.
    """

    pretraining = Pretraining(
        PUBLISHED,
        MelSpec(sample_rate=SAMPLE_RATE, kind="waveform", track_seconds=30.0, clip_seconds=3.0, min_seconds=1.0),
        "Apache-2.0",
        "LibriSpeech, audiobooks read aloud, without labels; no music",
        architecture=ARCHITECTURE,
    )

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 1,
        in_channels: int = 1,
        part: str = "all",
        pooling: str = "mean",
        config: dict[str, Any] | None = None,
        pretrained: bool | str = False,
        widths: Sequence[int] = (),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_waveforms(frames, mels, in_channels)
        self.part = pick("part", part, PARTS)
        pick("pooling", pooling, [*AVERAGES, "attention"])
        require("transformers", what="this network")
        from transformers import Wav2Vec2Config, Wav2Vec2Model

        full = make_config(Wav2Vec2Config, config, layerdrop=0.0, mask_time_prob=0.0)
        network: Any = load_network(Wav2Vec2Model, full, pretrained, PUBLISHED, ARCHITECTURE)
        network.feature_extractor._requires_grad = False  # frozen convolutions would keep all their steps otherwise
        self.backbone = network if part == "all" else network.feature_extractor
        width = full.hidden_size if part == "all" else full.conv_dim[-1]
        self.pool: Callable[[torch.Tensor], torch.Tensor] = (
            functools.partial(AVERAGES[pooling], dim=1) if pooling in AVERAGES else AttentionPooling(width, width)
        )
        self.head = DeepHead(width, widths, classes, dropout)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 1, samples] -> [batch, width]."""
        steps = self.backbone(standardise(x.flatten(1)))
        return self.pool(steps.last_hidden_state if self.part == "all" else steps.transpose(1, 2))

    def hidden_layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The steps of 20 ms as they enter the transformer's first layer, and as they leave each."""
        if self.part != "all":
            return super().hidden_layers(x)
        return list(self.backbone(standardise(x.flatten(1)), output_hidden_states=True).hidden_states)


def standardise(waveforms: torch.Tensor) -> torch.Tensor:
    """Each of [batch, samples] with mean 0 and variance 1, as the published network was trained."""
    variance, mean = torch.var_mean(waveforms.float(), 1, correction=0, keepdim=True)
    return (waveforms - mean) / (variance + 1e-7).sqrt()
