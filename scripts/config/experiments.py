"""Every named experiment by name, each with a twin on the synthetic demo corpus where there can be one."""

import argparse

from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError
from scripts.config import flags
from scripts.config.experiment import Experiment, Preset
from scripts.config.genre_presets import PRESETS as GENRES
from scripts.config.run import read_config
from scripts.config.tag_presets import PRESETS as TAGS

PRESETS = [*GENRES, *TAGS]

DEMO_EPOCHS = 8


def on_demo(experiment: Experiment) -> Experiment:
    """The same on the demo corpus: `demo_cnn_3s` for `fma_cnn_3s`."""
    return experiment.updated(
        name=f"demo_{experiment.name.removeprefix('fma_')}",
        table=experiment.data.table.replace("data/", "data/demo/"),
        cache=experiment.data.cache.replace("data/", "data/demo/"),
        epochs=DEMO_EPOCHS,
    )


EXPERIMENTS = {preset.experiment.name: preset.experiment for preset in PRESETS}
TWINS = [
    on_demo(experiment)
    for experiment in EXPERIMENTS.values()
    if experiment.data.cache == "data/mels" and not experiment.model.keywords.get("pretrained")
]
EXPERIMENTS |= {twin.name: twin for twin in TWINS}
EXPERIMENTS["demo_polyphony"] = EXPERIMENTS["philharmonia_polyphony"].updated(
    name="demo_polyphony",
    table="data/demo/polyphony/metadata.csv",  # mixtures of the synthetic notes
    cache="data/demo/polyphony/mels",
    model={"name": "lean_tagger"},
    epochs=10,
)


def get_experiment(name: str) -> Experiment:
    """The experiment called `name`; an unknown name raises a ConfigError that suggests the nearest one."""
    return EXPERIMENTS[pick("experiment", name, EXPERIMENTS)]


def chosen_experiment(args: argparse.Namespace) -> Experiment:
    """What the flags of `flags.add_experiment_flags` choose; raises a ConfigError if they name none, or two."""
    if (args.experiment is None) == (args.config is None):
        raise ConfigError(f"give either --experiment NAME or --config FILE; experiments: {', '.join(EXPERIMENTS)}")
    if args.config is not None:
        experiment = Experiment.from_dict(read_config(args.config)["experiment"])
    else:
        experiment = get_experiment(args.experiment)
    changed = experiment.changed([change for group in args.changes for change in group])
    return changed.updated(allow_leak=True) if args.allow_leak else changed


def describe(presets: list[Preset]) -> str:
    """A Markdown table: experiment, what it is, reported, measured here."""
    rows = (f"| `{p.experiment.name}` | {p.source} | {p.reported} | {p.measured} |" for p in presets)
    head = ("| experiment | what it is | reported by its source | measured here |", "|---|---|---|---|")
    return "\n".join([*head, *rows])


@command
def main(argv: list[str] | None = None) -> None:
    flags.experiments(argv)
    print(describe(PRESETS))
