"""Networks of the transformers library on waveforms: with random weights, the Hugging Face hub's, or a folder's."""

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from scripts.cli import pick
from scripts.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

SAMPLE_RATE = 16_000
SHORTEST = 400  # samples: one frame of either network
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
LAYOUT = "give a folder in the hub's layout: config.json and model.safetensors"
PATIENCE = 10  # seconds to wait for the hub's first answer


def check_waveforms(samples: int, rows: int, channels: int) -> None:
    """A ConfigError unless the input is one channel of waveforms that are long enough."""
    if rows != 1 or channels != 1:
        raise ConfigError(
            f"input of {rows} rows and {channels} channels; this network takes mono waveforms of "
            f"{SAMPLE_RATE:,} Hz, which are 1 row in 1 channel: choose the spectrogram kind waveform"
        )
    if samples < SHORTEST:
        raise ConfigError(f"clips of {samples} samples; this network needs at least {SHORTEST}: take longer clips")


def make_config(kind: type["PreTrainedConfig"], settings: dict[str, Any] | None, **defaults: Any) -> "PreTrainedConfig":
    """The library's description of a network: its defaults, ours, then the user's settings.

    Raises
    ------
    ConfigError : a setting that the network does not have, or of a wrong type.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import PreTrainedConfig

    settings, general = settings or {}, PreTrainedConfig().to_dict()
    for name in settings:
        pick(f"setting of {kind.__name__}", name, [known for known in kind().to_dict() if known not in general])
    try:
        return kind(**defaults | settings)
    except StrictDataclassError as error:
        raise ConfigError(f"config={settings}: {one_line(error)}; correct it") from None


def load_network(
    network: type["PreTrainedModel"],
    config: "PreTrainedConfig",
    pretrained: bool | str,
    published: str,
    architecture: Sequence[str],
) -> "PreTrainedModel":
    """A network with random or pretrained weights, in training mode and float32.

    Parameters
    ----------
    network, config : the library's class and its settings.
    pretrained : False for weights drawn from torch's generator; True for those `published` on the hub; else a folder
        in the hub's layout (config.json and model.safetensors or pytorch_model.bin), or the name of others there.
    architecture : the settings that weights must have been made with.

    Raises
    ------
    ConfigError : weights that cannot be downloaded.
    CheckpointError : a folder that is missing, incomplete, damaged or another network's.
    """
    if not pretrained:
        return network(config)
    folder = find_folder(published if pretrained is True else pretrained)
    check_architecture(folder, config, architecture)
    try:
        with quietly():
            model, report = network.from_pretrained(
                folder, config=config, dtype=torch.float32, local_files_only=True, output_loading_info=True
            )
    except Exception as error:  # whatever safetensors, torch and transformers raise on damaged files
        raise CheckpointError(
            f"{folder}: not the weights of {config.model_type} ({one_line(error)}); {LAYOUT}"
        ) from None
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"{folder}: lacks {len(missing)} tensors of {network.__name__}, such as {missing[0]}; give all its weights"
        )
    return model.train()


def find_folder(name: str) -> Path:
    """The local folder of this name, or that of the hub's cache."""
    if Path(name).is_dir():
        return Path(name)
    if not HUB_NAME.fullmatch(name):
        raise CheckpointError(f"{name}: no such folder; {LAYOUT}")
    return cached(name) or download(name)


def cached(name: str) -> Path | None:
    """Where the hub's cache has this model, if it does."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    complete = (folder / "config.json").exists() and any((folder / file).exists() for file in WEIGHTS)
    return folder if complete else None


def download(name: str) -> Path:
    """Fetch a model into the hub's cache; asks once, where the library would repeat for half a minute."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE

    try:
        there = {file.rfilename for file in HfApi().model_info(name, timeout=PATIENCE).siblings}
        weights = [file for file in WEIGHTS if file in there][:1]
        return Path(snapshot_download(name, allow_patterns=["config.json", *weights]))
    except Exception as error:  # OSError, and those of the hub's HTTP library
        raise ConfigError(
            f"the weights {name} are no folder and could not be downloaded ({one_line(error)}); set pretrained=false, "
            f"connect to the internet, give a folder by pretrained=PATH, or put them in the cache folder {HF_HUB_CACHE}"
        ) from error


def check_architecture(folder: Path, config: "PreTrainedConfig", architecture: Sequence[str]) -> None:
    """Weights made with other settings may fit and yet mean something else, as with another number of heads."""
    theirs, ours, plain = (as_plain(each) for each in (read_config(folder, type(config)), config, type(config)()))
    if any(theirs[name] != ours[name] for name in architecture):
        needed = {name: theirs[name] for name in architecture if theirs[name] != plain[name]}
        raise CheckpointError(f"{folder}: weights of a network with other settings; set config={needed}")


def read_config(folder: Path, kind: type["PreTrainedConfig"]) -> "PreTrainedConfig":
    """The `config.json` of a folder in the hub's layout."""
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        model_type = settings.get("model_type")
        config = kind.from_dict(settings)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; {LAYOUT}") from None
    except Exception as error:  # not JSON, no mapping, or values that the library refuses
        raise CheckpointError(f"{path}: damaged ({one_line(error)}); {LAYOUT}") from None
    if model_type != kind.model_type:
        raise CheckpointError(f"{path}: of the network {model_type}; give weights of {kind.model_type}")
    return config


def as_plain(config: "PreTrainedConfig") -> dict[str, Any]:
    return json.loads(config.to_json_string(use_diff=False))


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without the library's progress bars and tables; what matters of them becomes an error of ours."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
