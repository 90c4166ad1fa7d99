"""A model card in Markdown: what a run was trained on, how well it does, what it is for, and what it cannot do.

Mitchell et al., "Model Cards for Model Reporting", FAT* 2019.
"""

import json
from pathlib import Path
from typing import Any

from scripts.common.errors import ConfigError
from scripts.config.experiment import Experiment
from scripts.config.run import Run
from scripts.datasets import DATASETS, get_dataset
from scripts.datasets.contract import Dataset

# the task's main scores, in the words of test.json
SCORES = {
    "single_label": ("track_accuracy", "clip_accuracy", "macro_f1"),
    "multi_label": ("f1_macro", "f1_micro", "average_precision_macro", "roc_auc_macro"),
}
TITLES = {
    "track_accuracy": "track accuracy",
    "clip_accuracy": "clip accuracy",
    "macro_f1": "macro F1 over tracks",
    "f1_macro": "macro F1 over tracks",
    "f1_micro": "micro F1 over tracks",
    "average_precision_macro": "mean average precision",
    "roc_auc_macro": "macro ROC-AUC",
}
DEMO = "synthetic demo corpus, composed by `python -m scripts demo` or `demo_notes`; no music by anyone"
UNKNOWN = "not known here; ask whoever made the table before you publish or sell anything built on this model"
MADE_OF = {"polyphony": "philharmonia"}  # folder of mixtures -> dataset they are mixed from

CARD = """\
# {reference}

{summary}

| | |
|---|---|
| run | `{run}`, experiment `{experiment.name}`, seed {experiment.training.seed}, epoch {epoch} |
| network | `{experiment.model.name}` on {spec.kind} spectrograms of {window:g} s at {spec.sample_rate:,} Hz |
| added | {added_at} |

## Task and labels

{task}

{labels}

## Data

{data}
- Table: `{experiment.data.table}`
- Split: fingerprint `{test[split]}`
- Leaks of the split: {leaks}

## Scores

Of the {test[part]} part: {test[tracks]} tracks, {test[items]} items; left out: {left_out}. Intervals are 95 % bootstrap
intervals over tracks. Number formats: {precision}.

{scores}

{baselines}

## Intended use

Sorting, searching and browsing collections of recordings like those it was trained on, with a person who looks at the
answers that matter; comparing methods of research.

## Limits

- It knows the labels above and no others: {closed}
- The scores hold for recordings like the test part's. Other kinds of music, other recordings and other codecs may do
  worse; score it on a table of your own before you rely on it (`python -m scripts evaluate --help`).
- Its probabilities are no certainties, and some labels do worse than others; see `test.json` for each.
- It must not decide anything about a person: not who made a piece, and not what anyone is paid or allowed.

## How to load

```
python -m scripts predict song.mp3 --model {reference}
```

```python
from scripts.inference.predictor import Predictor
from scripts.inference.registry import find_run

prediction = Predictor(find_run("{reference}"))("song.mp3")
```
"""


def read_report(run: Run) -> dict[str, Any]:
    """What the run's test.json holds; raises a ConfigError if it is missing or damaged."""
    path = run.report / "test.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        remedy = f"score the run (python -m scripts evaluate {run.name})"
        raise ConfigError(f"{path}: missing or damaged; {remedy}") from None


def write_card(run: Run, test: dict[str, Any], reference: str, added_at: str, dataset: str = "") -> str:
    """The card's text.

    Parameters
    ----------
    test : what the run's test.json holds.
    reference, added_at : of the registered version: "name@3", and date and time in ISO 8601.
    dataset : name in `scripts.datasets`; default: the one with the run's folder and labels, if there is one.

    Raises
    ------
    ConfigError : an unknown dataset.
    """
    experiment, classes = run.experiment(), run.load_config()["classes"]
    single, spec = experiment.task == "single_label", experiment.features.spec
    clips = experiment.data.unit in ("clip", "crop") and spec.selection == "all"
    if known := find_dataset(experiment, classes, dataset):
        data = f"- {known.title}, {known.url}\n- Citation: {known.citation}\n- Licence: {known.licence}"
    else:
        data = f"- Licence: {DEMO if 'demo' in Path(experiment.data.table).parts else UNKNOWN}"
    kind = f"one of {len(classes)} genres or classes" if single else f"any number of {len(classes)} labels"
    return CARD.format(
        reference=reference,
        run=run.name,
        experiment=experiment,
        spec=spec,
        test=test,
        added_at=added_at,
        summary=f"Gives a recording {kind}, by a network that predicts windows of it and averages over them.",
        window=spec.clip_seconds if clips else spec.track_seconds,
        epoch=test["best_epoch"],
        task=f"`{experiment.task}`: {kind}." + ("" if single else " Thresholds were chosen on the validation part."),
        labels=", ".join(classes),
        data=data,
        leaks="; ".join(test["leaks"]) or "none known",
        left_out=", ".join(f"{count} {status}" for status, count in test["left_out"].items()) or "none",
        precision=test.get("precision", "not recorded"),
        scores=score_table(test, experiment.task),
        baselines=describe_baselines(test),
        closed="a recording of anything else still gets one of them." if single else "silent on everything else.",
    )


def main_scores(test: dict[str, Any], task: str) -> dict[str, dict[str, Any]]:
    """The task's main scores in a test.json: name -> its `value`, and its `interval_95` where it has one."""
    scores = {}
    for name in SCORES[task]:
        if test.get(name) is not None:
            interval = test.get(f"{name}_interval_95")
            scores[name] = {"value": test[name]} | ({"interval_95": interval} if interval else {})
    return scores


def describe_score(name: str, score: dict[str, Any]) -> str:
    """Such as "track accuracy 0.656 (0.500-0.812)"."""
    low_high = "-".join(f"{end:.3f}" for end in score.get("interval_95", []))
    return f"{TITLES[name]} {score['value']:.3f}" + (f" ({low_high})" if low_high else "")


def score_table(test: dict[str, Any], task: str) -> str:
    """In Markdown, a row for each main score."""
    rows = ["| score | value | 95 % interval |", "|---|---|---|"]
    for name, score in main_scores(test, task).items():
        interval = " to ".join(f"{end:.3f}" for end in score.get("interval_95", [])) or "-"
        rows.append(f"| {TITLES[name]} | {score['value']:.3f} | {interval} |")
    return "\n".join(rows)


def describe_baselines(test: dict[str, Any]) -> str:
    """The scores of the no-audio baselines."""
    if "baselines" not in test:
        guesses = f"{test['chance']:.3f}, always predicting the most frequent genre {test['majority']:.3f}"
        return f"Guessing has a track accuracy of {guesses}."
    rows = [f"{name.replace('_', ' ')} {row['f1_macro'] or 0:.3f}" for name, row in test["baselines"].items()]
    return f"Macro F1 of the no-audio baselines: {', '.join(rows)}."


def find_dataset(experiment: Experiment, classes: list[str], name: str = "") -> Dataset | None:
    """The dataset called `name`, or the one whose folder holds the table and whose labels, if any, are these."""
    if name:
        return get_dataset(name)
    folder = Path(experiment.data.table).parent
    folder = folder.parent / MADE_OF.get(folder.name, folder.name)
    for one in DATASETS.values():
        fits = {*classes} <= {*one.labels} if one.labels else one.task == experiment.task
        if Path(one.root) == folder and fits:
            return one
    return None
