"""The try-it page's answers, and its text about the model, as HTML from templates/try_it_*.html."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from scripts.apps.markup import text
from scripts.apps.try_it.analyser import SoundAnalysis
from scripts.audio.spec import MelSpec
from scripts.audio.spectrogram_axes import mark_frequencies
from scripts.config.run import Run
from scripts.inference.model_card import describe_score, main_scores, read_report
from scripts.inference.predictor import Prediction
from scripts.inference.registry import version_of

SURE = 0.5  # from which probability on a genre is called likely
WEAKEST = 2  # labels named as those that it knows least
POINTS = 100  # of a curve; more would hide each other
MAX_TICKS = 6  # of the time axis
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300)  # s between two ticks
CSS = Path(__file__).with_name("try_it.css").read_text(encoding="utf-8")


def escape(value: Any) -> Markup:
    return value if isinstance(value, Markup) else Markup(text(str(value)))


def percent(share: float) -> str:
    """Such as 62%; what is not 0 is not called so."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def clock(seconds: float) -> str:
    """Minutes and seconds, such as 1:05 or 0:02.5."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:0{4 if rest % 1 else 2}.{1 if rest % 1 else 0}f}"


TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    finalize=escape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {"percent": percent, "clock": clock}


def render(part: str, **values: Any) -> str:
    """A part of the page; whatever `values` hold is escaped."""
    return TEMPLATES.get_template(f"try_it_{part}.html").render(values)


def answer(analysis: SoundAnalysis, name: str, number: int, fate: str = "") -> str:
    """All about a sound.

    Parameters
    ----------
    name : of the file.
    number : of the answer, so that no two are the same.
    fate : what became of the file.
    """
    prediction, classes = analysis.prediction, [analysis.prediction.names.index(label) for label in analysis.names]
    heat = [] if isinstance(analysis.heat, str) else [mask(layer) for layer in analysis.heat]
    nearest = [] if isinstance(analysis.nearest, str) else analysis.nearest.to_dict("records")
    return render(
        "answer",
        number=number,
        name=name,
        fate=fate,
        analysis=analysis,
        prediction=prediction,
        single=prediction.thresholds is None,
        sure=prediction.probabilities.max() >= SURE,
        spectrogram=mask(analysis.spectrogram**1.5),
        heat=heat,
        nearest=nearest,
        curves=[curve(analysis.curves, analysis.window, one) for one in classes],
        averaged=round(len(analysis.curves.starts) / min(len(analysis.curves.starts), POINTS)),
        bars=[bar(prediction, one) for one in classes],
        times=[(clock(at), at / prediction.seconds) for at in times(prediction.seconds)],
        frequencies=frequencies(analysis.spec),
    )


def mask(values: np.ndarray) -> Markup:
    """[rows, columns] from 0 to 1 as the opacity of a PNG, the first row at the bottom: a data URL."""
    opacity = Image.fromarray((values[::-1] * 255).round().astype(np.uint8))
    file = io.BytesIO()
    Image.merge("LA", (Image.new("L", opacity.size), opacity)).save(file, "PNG")
    return Markup("data:image/png;base64," + base64.b64encode(file.getvalue()).decode())


def curve(prediction: Prediction, window: float, number: int) -> str:
    """A label's probability over time as points of a polyline in a box of 100 x 100, from end to end.

    A window's probability stands at the middle of the sound in it. Of more than `POINTS` windows, so many means of
    neighbours are drawn.
    """
    ends = np.minimum(prediction.starts + window, prediction.seconds)
    x = (prediction.starts + ends) / 2 / prediction.seconds * 100
    y = 100 - prediction.windows[:, number] * 100
    middles, heights = ([part.mean() for part in np.array_split(one, min(POINTS, len(one)))] for one in (x, y))
    points = zip(np.concatenate([[0], middles, [100]]), np.pad(heights, 1, mode="edge"), strict=True)
    return " ".join(f"{left:.2f},{top:.2f}" for left, top in points)


def bar(prediction: Prediction, number: int) -> dict[str, Any]:
    """A label with its probability and, of several labels, its threshold."""
    threshold = None if prediction.thresholds is None else float(prediction.thresholds[number])
    return {
        "name": prediction.names[number],
        "value": float(prediction.probabilities[number]),
        "threshold": threshold,
    }


def times(seconds: float) -> list[float]:
    """Where the time axis has ticks."""
    step = next((one for one in STEPS if seconds <= one * MAX_TICKS), STEPS[-1])
    return np.arange(0, seconds * 0.98, step).tolist()


def frequencies(spec: MelSpec) -> list[tuple[str, float]]:
    """Ticks of the spectrogram's rows and how high each stands, 0 to 1; the last one names the unit."""
    axes = Figure().add_subplot()
    mark_frequencies(axes, spec)
    names = [label.get_text() for label in axes.get_yticklabels()]
    if spec.kind != "mfcc":
        names[-1] += " kHz"
    return [(name, (row + 0.5) / spec.rows) for name, row in zip(names, axes.get_yticks(), strict=True)]


def facts(run: Run) -> dict[str, Any]:
    """What the page shows of a run; raises a ConfigError if its test.json is damaged."""
    experiment, config = run.experiment(), run.load_config()
    test = read_report(run) if (run.report / "test.json").exists() else {}
    table = test.get("per_genre") or test.get("per_label") or {}
    imperfect = [(label, row["f1"]) for label, row in table.items() if row.get("f1") is not None and row["f1"] < 1]
    return {
        "run": version_of(run),
        "experiment": experiment,
        "labels": config["classes"],
        "split": config["split"],
        "single": experiment.task == "single_label",
        "tells_others": experiment.model.name == "fitted",
        "demo": experiment.name.startswith("demo_"),
        "test": test,
        "scores": [describe_score(*score) for score in main_scores(test, experiment.task).items()],
        "weakest": sorted(imperfect, key=lambda label: label[1])[:WEAKEST],
    }
