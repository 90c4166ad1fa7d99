"""Networks of the transformers library on waveforms: with random weights, the Hugging Face hub's, or a folder's."""

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from scripts.common.cli import pick
from scripts.common.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

SAMPLE_RATE = 16_000


def check_waveforms(samples: int, rows: int, channels: int, sample_rate: int = SAMPLE_RATE) -> None:
    """A ConfigError unless the input is one channel of waveforms that are long enough."""
    if samples < 400 or rows != 1 or channels != 1:
        raise ConfigError(
            f"clips of {samples} samples, {rows} rows and {channels} channels; this network takes mono waveforms of "
            f"{sample_rate:,} Hz, which are 1 row in 1 channel, of at least 400 samples, one frame: choose the "
            "spectrogram kind waveform, and longer clips"
        )


def make_config(kind: type["PreTrainedConfig"], settings: dict[str, Any] | None, **defaults: Any) -> "PreTrainedConfig":
    """The library's defaults, ours, then the user's settings; a ConfigError for one it does not have or allow."""
    from huggingface_hub.errors import StrictDataclassError

    settings = settings or {}
    for name in settings:
        pick(f"setting of {kind.__name__}", name, inspect.get_annotations(kind))
    try:
        return kind(**defaults | settings)
    except StrictDataclassError as error:
        raise ConfigError(f"config={settings}: {one_line(error)}; correct it") from None


def load_network(
    network: type["PreTrainedModel"],
    config: "PreTrainedConfig",
    pretrained: bool | str,
    published: str,
    architecture: tuple[str, ...],
) -> "PreTrainedModel":
    """A network with random or pretrained weights, in training mode and float32.

    Parameters
    ----------
    network, config : the library's class and its settings.
    pretrained : False for weights drawn from torch's generator; True for those `published` on the hub; else a folder
        in the hub's layout (config.json and model.safetensors or pytorch_model.bin), or the name of others there.
    architecture : the settings that weights must have been made with; others may fit and yet mean something else, as
        with another number of heads.

    Raises
    ------
    ConfigError : no such folder, and no such weights that can be downloaded.
    CheckpointError : a folder that is incomplete, damaged or another network's.
    """
    if not pretrained:
        return network(config)
    from transformers.utils import logging

    folder = find_folder(published if pretrained is True else pretrained)
    level = logging.get_verbosity()
    logging.set_verbosity_error()  # what matters of its warnings is an error here
    try:
        settings, _ = config.get_config_dict(folder)
        if settings.get("model_type") != config.model_type:
            raise ValueError(f"config.json is missing or of the network {settings.get('model_type')}")
        theirs, ours = (json.loads(each.to_json_string(False)) for each in (config.from_dict(settings), config))
        if differ := {name: theirs[name] for name in architecture if theirs[name] != ours[name]}:
            raise ValueError(f"made with other settings; set config={differ}")
        model, report = cast(Any, network).from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        if missing := sorted(report["missing_keys"]):
            raise ValueError(f"{len(missing)} tensors of {network.__name__} are missing, such as {missing[0]}")
    except Exception as error:  # whatever safetensors, torch and transformers raise on damaged files
        raise CheckpointError(
            f"{folder}: not the weights of this network ({one_line(error)}); give a folder with config.json and "
            f"model.safetensors of {config.model_type}"
        ) from None
    finally:
        logging.set_verbosity(level)
    return model.train()


def read_settings(name: str, wanted: tuple[str, ...]) -> dict[str, Any]:
    """The `wanted` settings that config.json holds in a folder, or in the hub's; none where it is damaged.

    Raises
    ------
    ConfigError : as `find_folder`.
    """
    try:
        settings = json.loads((find_folder(name) / "config.json").read_text(encoding="utf-8"))
        return {each: settings[each] for each in wanted if each in settings}
    except (OSError, ValueError, TypeError):
        return {}  # `load_network` says what is wrong


def find_folder(name: str, *others: str) -> Path:
    """The folder of this name, or the hub's, from its cache or downloaded; transformers would try for minutes.

    `others` : names of files that are fetched beside the settings and the weights.
    """
    from huggingface_hub import constants, snapshot_download

    if Path(name).is_dir():
        return Path(name)
    cause = "the hub has no such files"
    for cached in (True, False):
        try:
            for weights in ("model.safetensors", "pytorch_model.bin"):
                files = ["config.json", weights, *others]
                folder = Path(snapshot_download(name, allow_patterns=files, local_files_only=cached))
                if all((folder / file).is_file() for file in files):
                    return folder
        except Exception as error:  # OSError, ValueError, and those of the hub's HTTP library
            cause = one_line(error)
    raise ConfigError(
        f"the weights {name} are no folder and could not be downloaded ({cause}); set pretrained=false, connect to the "
        f"internet, give a folder by pretrained=PATH, or put them in the cache folder {constants.HF_HUB_CACHE}"
    )


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())
