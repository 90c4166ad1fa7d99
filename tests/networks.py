"""Small random networks of transformers in the hub's layout."""

from pathlib import Path

import tokenizers
import transformers
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
AUDIO = {"patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 16}
TEXT = SIZES | {"vocab_size": 8, "max_position_embeddings": 16}
WORDS = ("<s>", "<pad>", "</s>", "<unk>", "solo", "piano", "rain", ",")


def save_ast(folder: Path) -> Path:
    transformers.ASTModel(transformers.ASTConfig(**SIZES, max_length=64, num_mel_bins=32)).save_pretrained(folder)
    return folder


def save_wav2vec2(folder: Path) -> Path:
    settings = SIZES | {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(**settings)).save_pretrained(folder)
    return folder


def save_clap(folder: Path, **audio: object) -> Path:
    """With a front end and a tokenizer of `WORDS`."""
    config = transformers.ClapConfig(projection_dim=12, audio_config=AUDIO | audio, text_config=TEXT)
    transformers.ClapModel(config).save_pretrained(folder)
    front_end = transformers.ClapFeatureExtractor(truncation="rand_trunc", frequency_min=50)
    front_end.save_pretrained(folder)
    words = tokenizers.Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = Whitespace()
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    return folder
