"""CLAP: audio and text as vectors of one space, so that words find sounds."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from scripts.architectures.hub import check_waveforms, find_folder, load_network, make_config, one_line
from scripts.audio.spec import MelSpec
from scripts.common.cli import require
from scripts.common.errors import CheckpointError, ConfigError
from scripts.models import Network, Pretraining, register

PUBLISHED = "laion/clap-htsat-unfused"
SAMPLE_RATE, SECONDS = 48_000, 10.0
FRONT_END = "preprocessor_config.json"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
LOWEST = 50  # Hz, of the published networks' mels


@register("clap")
class Clap(Network):
    """CLAP's audio tower on waveforms of 48,000 Hz, and its text tower for search by words.

    Y. Wu, K. Chen, T. Zhang, Y. Hui, T. Berg-Kirkpatrick, S. Dubnov. Large-scale Contrastive Language-Audio
    Pretraining with Feature Fusion and Keyword-to-Caption Augmentation. ICASSP 2023. It takes up to 10 s; shorter clips
    are repeated. The networks without fusion alone are taken: the others choose parts of longer sounds at random.

    Parameters
    ----------
    classes : number of logits.
    frames : samples of a clip, at most 10 s; any other such length is accepted later.
    mels, in_channels : 1 each.
    config : settings of transformers' ClapConfig where they differ from its defaults, as {"projection_dim": 64}.
    pretrained : True takes the published weights from the hub; a path takes those of a folder in the hub's layout, with
        preprocessor_config.json and the tokenizer's files; another name of the hub takes those.

    Raises
    ------
    ConfigError : input that is no waveform or too long, a network with fusion, or weights that are no folder and cannot
        be downloaded.
    CheckpointError : a folder of weights that is incomplete, damaged or another network's.
    """

    pretraining = Pretraining(
        PUBLISHED,
        MelSpec(
            sample_rate=SAMPLE_RATE,
            kind="waveform",
            track_seconds=30.0,
            clip_seconds=SECONDS,
            min_seconds=1.0,
            ending="repeat",
        ),
        "Apache-2.0",
        "LAION-Audio-630K and AudioSet, with sounds of Freesound and YouTube; a test on such, as ESC-50, may hold some",
        architecture=("text_config", "audio_config", "projection_dim"),
    )

    def __init__(
        self,
        classes: int,
        frames: int,
        mels: int = 1,
        in_channels: int = 1,
        config: dict[str, Any] | None = None,
        pretrained: bool | str = False,
    ) -> None:
        super().__init__()
        check_waveforms(frames, mels, in_channels, SAMPLE_RATE)
        if frames > SAMPLE_RATE * SECONDS:
            raise ConfigError(f"clips of {frames / SAMPLE_RATE:g} s; clap takes at most {SECONDS:g} s")
        require("transformers", what="this network")
        from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

        full: Any = make_config(ClapConfig, config)
        if full.audio_config.enable_fusion:
            raise ConfigError(f"a network of CLAP with fusion; give one without it, such as {PUBLISHED}")
        self.folder = None
        self.front_end = ClapFeatureExtractor(frequency_min=LOWEST)
        if pretrained:
            self.folder = find_folder(PUBLISHED if pretrained is True else pretrained, FRONT_END, *TOKENIZER)
            try:
                self.front_end = ClapFeatureExtractor.from_pretrained(self.folder, local_files_only=True)
            except (OSError, ValueError, TypeError) as error:
                raise CheckpointError(f"{self.folder}: {FRONT_END} is missing or damaged ({one_line(error)})") from None
        source = str(self.folder) if self.folder else False
        self.backbone = load_network(ClapModel, full, source, PUBLISHED, ("projection_dim",))
        self.head = nn.Linear(full.projection_dim, classes)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 1, samples] -> [batch, projection_dim], of length 1."""
        network: Any = self.backbone
        return network.get_audio_features(self.spectrograms(x)).pooler_output

    def hidden_layers(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The patches as they enter the first stage, and as they leave each, fewer of them from stage to stage."""
        network: Any = self.backbone
        states = network.audio_model(self.spectrograms(x), output_hidden_states=True).hidden_states
        return [state.flatten(2).transpose(1, 2) for state in states]

    def spectrograms(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, 1, 1, samples] -> [batch, 1, frames, mels] on its device, computed on the CPU."""
        waveforms = list(x.flatten(1).double().cpu().numpy())
        made = self.front_end(waveforms, "rand_trunc", sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return made["input_features"].to(x.device, torch.float32)

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> torch.Tensor:
        """Vectors of texts in the space of `embed`: [texts, projection_dim], of length 1.

        Raises
        ------
        CheckpointError : the tokenizer is missing in the folder of the weights, or damaged; or there are no weights.
        """
        from transformers import AutoTokenizer

        try:
            tokenizer: Any = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # whatever tokenizers raises on damaged files
            raise CheckpointError(
                f"{self.folder}: no tokenizer for the text ({one_line(error)}); give a folder with {TOKENIZER[0]}"
            ) from None
        network: Any = self.backbone
        longest = network.config.text_config.max_position_embeddings - 2  # two places are for padding
        tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
        tokens = {name: tokens[name].to(network.device) for name in ("input_ids", "attention_mask")}
        return network.get_text_features(**tokens).pooler_output
