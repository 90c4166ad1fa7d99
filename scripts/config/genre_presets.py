"""The named experiments: what each reproduces, what its source reported, and what was measured here.

Each keeps its source's recipe without its mistakes: the best epoch is chosen on a validation part and the test part
is scored once.
"""

import dataclasses
from typing import Any

from scripts.architectures.musicnn import SPEC as MUSICNN
from scripts.audio.spec import MelSpec
from scripts.config.experiment import Experiment, Preset

NEEDS_FMA = "not run here: needs FMA-small"
NEEDS_GTZAN = "not run here: needs GTZAN's audio"


FMA = {"table": "data/metadata_ensemble.csv", "cache": "data/mels"}
GTZAN_IMAGES = {"table": "data/gtzan_images/metadata_ensemble.csv", "cache": "data/gtzan_images/mels"}
GTZAN = {"table": "data/gtzan/metadata_ensemble.csv", "cache": "data/gtzan/mels"}
IMAGE = MelSpec(sample_rate=22_050, track_seconds=10, clip_seconds=10)
COARSE = MelSpec(sample_rate=22_050, hop_length=1024, n_mels=64)
PICTURES = MelSpec(kind="picture", sample_rate=11, clip_seconds=10)
SLICES = MelSpec(sample_rate=22_050, n_fft=1024, kind="linear", clip_overlap=0.5)
STEPS = {"name": "StepLR", "step_size": 10, "gamma": 0.1}
EARS = MelSpec(**MUSICNN.as_dict() | {"ending": "repeat", "min_seconds": 0.5})
SHORT_CHUNK = {"channels": [16, 32, 64, 128], "stem_stride": 1, "dropout": 0.3}
FROM_SCRATCH: dict[str, Any] = {
    "optimizer": "AdamW",
    "learning_rate": 3e-3,
    "weight_decay": 0.02,
    "scheduler": "OneCycleLR",
    "augment": {
        "mixup": {"alpha": 0.3},
        "frequency_mask": {"width": 8, "count": 2},
        "time_mask": {"width": 10, "count": 2},
    },
}
SECNN = {
    **GTZAN,
    "spec": SLICES,
    "normalise": "power",
    "model": "secnn",
    "epochs": 50,
    "batch_size": 64,
    "weight_decay": 1e-4,
    "scheduler": "LinearLR",
    "patience": 10,
    "metric": "loss",
}

PRESETS = [
    Preset(
        Experiment(
            name="fma_cnn_30s",
            table="data/metadata_30_secs.csv",
            cache="data/mels",
            unit="track",
            batch_size=4,
            model={"name": "cnn4", "norm": "none", "pool": "flatten"},
        ),
        "the 4-block CNN on whole tracks, the control of the 3 s setting; `model.norm=batch` rescues it",
        "track 0.123, random 80/20, best epoch on test",
        NEEDS_FMA,
    ),
    Preset(
        Experiment(name="fma_cnn_3s", **FMA, model={"name": "cnn4", "norm": "none", "pool": "flatten"}),
        "the 4-block CNN on 3 s clips, tested by the mean of a track's ten clip logits",
        "track 0.598, random 80/20, best epoch on test",
        NEEDS_FMA,
    ),
    Preset(
        Experiment(
            name="fma_resnet50_frozen",
            **FMA,
            unit="track",
            spec=IMAGE,
            normalise="image",
            model={"name": "resnet50", "pretrained": True},
            epochs=20,
            frozen_epochs=20,
            scheduler=STEPS,
        ),
        "ImageNet ResNet-50, only the head trained, on a grey mel image of the first 10 s; the pretrained stem is "
        "kept, the filters fit the sample rate, decibels are taken once",
        "track 0.509, random 80/20, best epoch on test",
        NEEDS_FMA,
    ),
    Preset(
        Experiment(
            name="fma_efficientnet_b0",
            **FMA,
            unit="track",
            spec=IMAGE,
            normalise="image",
            model={"name": "efficientnet_b0", "pretrained": True, "head_dropout": 0.5},
            epochs=20,
            scheduler=STEPS,
            augment={"noise": {"snr_low": 15, "snr_high": 40}, "time_shift": {}},
        ),
        "ImageNet EfficientNet-B0, all of it trained, on the same image; dropout stands before the head instead of "
        "on the logits, and augmentation does what it says",
        "track 0.579, random 80/20, best epoch on test",
        NEEDS_FMA,
    ),
    Preset(
        Experiment(name="gtzan_secnn", **SECNN),
        "the SE-CNN on linear power spectrograms of 3 s at 50 % overlap, 19 a track",
        "clip 0.763 ± 0.013, track 0.810 ± 0.029, 5 folds by track, best epoch on test",
        NEEDS_GTZAN,
    ),
    Preset(
        Experiment(
            name="gtzan_secnn_aug",
            **SECNN | {"model": {"name": "secnn", "fc_dropout": 0.5}},
            augment={
                "noise": {"snr_low": 16, "snr_high": 36},
                "gain": {"decibel": 14},
                "frequency_mask": {"width": 140, "count": 1},
                "time_mask": {"width": 30, "count": 1},
            },
        ),
        "the same with noise, gain and masks",
        "clip 0.788 ± 0.012, track 0.848 ± 0.018, 5 folds by track, best epoch on test",
        NEEDS_GTZAN,
    ),
    Preset(
        Experiment(
            name="gtzan_mlp_features",
            table="data/gtzan/metadata_30_secs.csv",
            cache="data/gtzan",
            unit="row",
            columns=57,
            normalise="none",
            model="mlp",
            epochs=300,
            batch_size=32,
            weight_decay=1e-4,
            patience=30,
            metric="loss",
        ),
        "the 57-256-64-10 perceptron on the public table of features; scaled by the training part alone",
        "track 0.77 (mean of 5 folds by track), best epoch on test",
        "track 0.469 (0.410-0.524), fault-filtered split; 0.721 (0.693-0.749), 5 folds by track",
    ),
    Preset(
        Experiment(
            name="gtzan_images",
            **GTZAN_IMAGES,
            unit="crop",
            spec=dataclasses.replace(PICTURES, n_mels=64),
            model={"name": "short_chunk", **SHORT_CHUNK},
            epochs=20,
            **FROM_SCRATCH,
        ),
        "one of the three networks of best_scratch on pictures of log-mels, 10 s of them at a time",
        "-",
        "track 0.544 (0.493-0.597), fault-filtered; 0.691 (0.643-0.739), the same parts shuffled; three seeds",
    ),
    Preset(
        Experiment(
            name="gtzan_images_frozen",
            **GTZAN_IMAGES,
            spec=PICTURES,
            model={"name": "efficientnet_lite0", "pretrained": True},
            epochs=0,
            precision="float32",
            metric="last",
        ),
        "EfficientNet-Lite0 with ImageNet weights as they are, for `embed`: the new head knows nothing",
        "-",
        "track 0.601 (0.542-0.657), fault-filtered, LDA on its embeddings",
    ),
    Preset(
        Experiment(
            name="best_scratch",
            **FMA,
            unit="crop",
            spec=COARSE,
            model={"name": "committee", "network": "short_chunk", "members": 3, "settings": SHORT_CHUNK},
            epochs=40,
            **FROM_SCRATCH,
            metric="last",
        ),
        "the best recipe from scratch that was found here (sources/experiments.md): three small residual networks on "
        "coarse log-mels, random crops, mixup, masks, one cycle",
        "-",
        "track 0.920 (0.870-0.965), clip 0.790: 100 excerpts of GTZAN, four of its ten genres by one artist each, 5 "
        "folds by track, twice",
    ),
    Preset(
        Experiment(
            name="musicnn_head",
            **FMA,
            spec=EARS,
            normalise="none",
            model={"name": "fitted", "network": "musicnn", "settings": {"pretrained": "jamendo"}, "classifier": "lda"},
            epochs=1,
            metric="last",
        ),
        "a linear discriminant, fitted at once, on what MusiCNN (which has learnt to tag MTG-Jamendo) makes of a clip, "
        "and on statistics of the log-mel",
        "-",
        "track 0.890 (0.830-0.950), clip 0.816: 100 excerpts of GTZAN, 5 folds by track",
    ),
    Preset(
        Experiment(
            name="statistics_head",
            **FMA,
            spec=MelSpec(sample_rate=22_050, ending="repeat", min_seconds=0.5),
            normalise="none",
            model={"name": "fitted", "network": "row_statistics", "classifier": "lda", "statistics": False},
            epochs=1,
            metric="last",
        ),
        "a linear discriminant on statistics of the log-mel alone, which has heard nothing and needs no weights",
        "-",
        "track 0.870 (0.800-0.930), clip 0.819: 100 excerpts of GTZAN, 5 folds by track",
    ),
]
