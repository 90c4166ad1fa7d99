"""The named experiments on instruments and tags: single notes, mixtures of them, and published sets.

Each keeps its source's recipe without its mistakes: thresholds and the epoch are chosen on a validation part, scores
are computed once over the whole test part, and unknown labels are not taken for absent ones.
"""

from typing import Any

from scripts.audio.spec import MelSpec
from scripts.config.experiment import Experiment, Preset
from scripts.datasets.coala import FRONT_END
from scripts.datasets.irmas import IRMAS_ROWS
from scripts.datasets.irmas import LABELS as IRMAS_LABELS

# up to three clips of a note; a note shorter than one is repeated
NOTES = MelSpec(n_fft=4096, hop_length=2048, track_seconds=6, clip_seconds=2, ending="repeat", min_seconds=0.2)
ORCHESTRA = MelSpec(**NOTES.as_dict() | {"f_min": 80})  # some of its sessions have a rumble below, others none
SOUNDS = MelSpec(**NOTES.as_dict() | {"hop_length": 1024})
NSYNTH = MelSpec(sample_rate=16_000, track_seconds=4, clip_seconds=4, ending="repeat", min_seconds=0.2)
MIXTURES = MelSpec(n_fft=4096, hop_length=1024, track_seconds=2, clip_seconds=2, ending="repeat", min_seconds=0.2)
EXCERPTS = MelSpec(
    sample_rate=22_050, track_seconds=20, clip_seconds=3, clip_overlap=0.5, ending="repeat", min_seconds=1
)
CEPSTRA = MelSpec(**EXCERPTS.as_dict() | {"kind": "mfcc"})
STACKED = MelSpec(**EXCERPTS.as_dict() | {"kind": "stack"})
WAVEFORM = MelSpec(
    sample_rate=16_000, kind="waveform", track_seconds=20, clip_seconds=5, ending="repeat", min_seconds=1
)
ONE_CYCLE: dict[str, Any] = {
    "optimizer": "AdamW",
    "learning_rate": 3e-3,
    "weight_decay": 0.02,
    "scheduler": "OneCycleLR",
}
FINE_TUNING = ONE_CYCLE | {"learning_rate": 1e-4, "weight_decay": 0.01, "frozen_epochs": 2}
MULTI: dict[str, Any] = {"task": "multi_label", "loss": "bce", "metric": "macro_f1"}
MASKS = {"frequency_mask": {"width": 16, "count": 2}, "time_mask": {"width": 24, "count": 2}}
WIDE = {"name": "lean_tagger", "channels": [32, 64, 128, 256, 256]}
HEADS = {"name": "fluffy", "network": "lean_tagger", "settings": {"channels": [32, 64, 128, 256, 512]}, "widths": [64]}
WAV2VEC2_CNN = {"name": "fluffy", "network": "wav2vec2", "settings": {"pretrained": True, "part": "features"}}
NEEDS_DATA = "not run here: needs the data"
NEEDS_WEIGHTS = "not run here: needs the data and the pretrained weights"


def place(folder: str, table: str = "metadata_ensemble.csv") -> dict[str, str]:
    """Where a dataset's table and caches lie."""
    return {"table": f"data/{folder}/{table}", "cache": f"data/{folder}/mels"}


def notes(name: str, folder: str, **settings: Any) -> Experiment:
    """Sounds with one label each, by the lean network."""
    values = {
        "spec": NOTES,
        "model": "lean_tagger",
        "batch_size": 16,
        "epochs": 20,
        "metric": "last",
        "augment": {"mixup": {"alpha": 0.2}, "time_shift": {}},
        **ONE_CYCLE,
    }
    return Experiment(name=name, **place(folder), **values | settings)


def polyphony(name: str, **settings: Any) -> Experiment:
    """Mixtures that scripts.utils.mixtures made of single notes, more of them mixed on the fly."""
    values = {
        "spec": MIXTURES,
        "model": HEADS,
        "batch_size": 16,
        "epochs": 27,
        "thresholds": "global",
        "mix": {"min_sources": 1, "max_sources": 3, "pitch": 2.0},
        **MULTI,
        **ONE_CYCLE | {"learning_rate": 2e-3},
    }
    return Experiment(name=name, **place("polyphony", "metadata.csv"), **values | settings)


def irmas(name: str, **settings: Any) -> Experiment:
    """Trained on excerpts with one instrument, and mixtures of up to three; tested on excerpts with several."""
    values = {
        "labels": list(IRMAS_LABELS),
        "spec": EXCERPTS,
        "batch_size": 16,
        "epochs": 30,
        "mix": {"min_sources": 1, "max_sources": 3},
        "augment": {"time_shift": {}},
        **MULTI,
        **FINE_TUNING,
    }
    return Experiment(name=name, **place("irmas"), **values | settings)


def on_waveforms(name: str, **settings: Any) -> Experiment:
    """As `irmas`, without mixing, which adds powers of spectrograms."""
    return irmas(name, **{"spec": WAVEFORM, "normalise": "none", "mix": {}, "augment": {}, "epochs": 10} | settings)


def coala(name: str, **settings: Any) -> Experiment:
    """Patches of Freesound with up to a thousand tags."""
    values = {
        "table": "data/coala/metadata_ensemble.csv",
        "cache": "data/coala",
        "unit": "patch",
        "spec": FRONT_END,
        "normalise": "none",
        "batch_size": 128,
        "thresholds": "label",
        **MULTI,
        "metric": "mean_average_precision",
    }
    return Experiment(name=name, **values | settings)


PRESETS = [
    Preset(
        notes(
            "philharmonia_notes",
            "philharmonia",
            spec=ORCHESTRA,
            batch_size=32,
            learning_rate=4e-3,
            epochs=36,
            augment={
                "mixup": {"alpha": 0.2},
                "time_shift": {},
                "loop": {"shortest": 0.3},
                "pitch": {"semitones": 2},
                "noise": {"probability": 0.2},
            },
        ),
        "15 instruments of the Philharmonia Orchestra, single notes and phrases",
        "-",
        "track accuracy 0.976 (0.967-0.985), 5-fold by file",
    ),
    Preset(
        polyphony("philharmonia_polyphony"),
        "two or three of these notes at once, a head for each label; one to three are mixed on the fly in training",
        "-",
        "macro F1 0.862 and 0.843 with seeds 0 and 1 on 500 mixtures of two or three test notes",
    ),
    Preset(
        notes("nsynth_notes", "nsynth", spec=NSYNTH, epochs=5),
        "NSynth's 11 families of instruments; no instrument of train in validation or test",
        "-",
        "0.353 (0.264-0.451) of 419 notes of its test part, 5 folds by instrument, 30 epochs; not run whole",
    ),
    Preset(notes("medley_solos", "medley_solos_db"), "Medley-solos-DB, 8 instruments, official split", "-", NEEDS_DATA),
    Preset(notes("tinysol_notes", "tinysol"), "TinySOL, 14 instruments, official folds", "-", NEEDS_DATA),
    Preset(
        notes("esc50_sounds", "esc50", spec=SOUNDS, epochs=60, augment={"mixup": {"alpha": 0.3}, **MASKS}),
        "ESC-50, 50 kinds of everyday sounds, official folds; also background noise and tracks without instruments",
        "-",
        NEEDS_DATA,
    ),
    Preset(
        irmas("irmas_lean", model=WIDE, learning_rate=3e-3, frozen_epochs=0),
        "IRMAS by a small network from scratch; thresholds from held-out songs",
        "micro F1 0.602, macro F1 0.503 (Han 2016, from scratch, whole test part)",
        NEEDS_DATA,
    ),
    Preset(
        irmas(
            "irmas_convnext_fluffy",
            model={"name": "fluffy", "network": "timm", "settings": {"backbone": "convnext_small", "pretrained": True}},
        ),
        "ConvNeXt-S with a head for each instrument, sums of up to three clips and time shift",
        "0.411, mean macro F1 of batches (a perfect predictor's is about 0.76)",
        NEEDS_WEIGHTS,
    ),
    Preset(
        irmas(
            "irmas_efficientnetv2",
            model={
                "name": "deep_head",
                "network": "efficientnetv2_s",
                "settings": {"pretrained": True},
                "widths": [1000, 500],
            },
            loss={"name": "focal", "gamma": 0.5},
        ),
        "EfficientNetV2-S with the deep head 1000-500 and the focal loss of p_t",
        "0.342 without augmentation, mean macro F1 of batches",
        NEEDS_WEIGHTS,
    ),
    Preset(
        irmas(
            "irmas_resnext_stack",
            spec=STACKED,
            model={"name": "resnext50", "pretrained": True},
            class_weights="balanced",
        ),
        "ResNeXt-50 on three channels, log-mels of three windows; positive weights",
        "0.316 without augmentation, mean macro F1 of batches",
        NEEDS_WEIGHTS,
    ),
    Preset(
        irmas("irmas_parallel", model={"name": "parallel_mobilenets", "settings": {"pretrained": True}}),
        "eleven MobileNetV3-L, one for each instrument",
        "-",
        NEEDS_WEIGHTS,
    ),
    Preset(
        irmas("irmas_lstm", model="attention_lstm", learning_rate=1e-3, frozen_epochs=0),
        "LSTM with Bahdanau attention over the frames of the log-mel",
        "about 0.20, mean macro F1 of batches",
        NEEDS_DATA,
    ),
    Preset(
        irmas("irmas_lstm_mfcc", spec=CEPSTRA, model="attention_lstm", mix={}, learning_rate=1e-3, frozen_epochs=0),
        "the same on MFCC",
        "-",
        NEEDS_DATA,
    ),
    Preset(
        irmas("irmas_conv_lstm", model="conv_lstm", learning_rate=1e-3, frozen_epochs=0, loss="asymmetric"),
        "convolutions, then an LSTM with attention, averaged over the right axis; asymmetric loss",
        "up to 0.35, mean macro F1 of batches",
        NEEDS_DATA,
    ),
    Preset(
        on_waveforms(
            "irmas_wavelet", model={"name": "wavelet", "network": "short_chunk"}, learning_rate=1e-3, frozen_epochs=0
        ),
        "a fixed bank of 128 wavelets in place of the log-mel",
        "-",
        NEEDS_DATA,
    ),
    Preset(
        on_waveforms(
            "irmas_ast_zero_shot",
            model={"name": "ast", "pretrained": True, "audioset_rows": list(IRMAS_ROWS.values())},
            epochs=0,
            metric="last",
        ),
        "AST with AudioSet's own rows for the eleven instruments, not trained; thresholds from validation",
        "0.34 or 0.51-0.54, mean macro F1 of batches (its source says both)",
        NEEDS_WEIGHTS,
    ),
    Preset(
        on_waveforms(
            "irmas_ast_lora", model={"name": "lora", "network": "ast", "settings": {"pretrained": True}}, batch_size=4
        ),
        "AST with LoRA adapters of rank 8",
        "0.36 with the head alone, mean macro F1 of batches",
        NEEDS_WEIGHTS,
    ),
    Preset(
        on_waveforms(
            "irmas_wav2vec2",
            model={"name": "wav2vec2", "pretrained": True, "pooling": "attention"},
            batch_size=8,
        ),
        "the whole wav2vec 2.0 with attention over time",
        "-",
        NEEDS_WEIGHTS,
    ),
    Preset(
        on_waveforms("irmas_wav2vec2_cnn", model=WAV2VEC2_CNN),
        "its convolutions alone, with a head for each instrument",
        "-",
        NEEDS_WEIGHTS,
    ),
    Preset(
        Experiment(
            name="openmic_lean",
            **place("openmic-2018"),
            spec=EXCERPTS,
            model=WIDE,
            epochs=30,
            augment={"mixup": {"alpha": 0.3}, **MASKS},
            **MULTI | {"metric": "mean_average_precision"},
            **ONE_CYCLE,
        ),
        "OpenMIC-2018, 20 instruments; what nobody annotated is unknown, not absent",
        "-",
        NEEDS_DATA,
    ),
    Preset(
        coala("coala_tagger", model="coala_tagger", epochs=20, patience=5),
        "Freesound's 1,000 tags by four convolutions and a hidden layer of 4,096; no item twice in validation",
        "mAP 0.415, ROC-AUC 0.938 (macro), the _val file; best epoch by ROC-AUC on validation",
        NEEDS_DATA,
    ),
    Preset(
        coala("coala_lean", model=WIDE, epochs=20, **ONE_CYCLE),
        "the same tags by a network of a tenth of the size",
        "-",
        NEEDS_DATA,
    ),
]
