"""The scores of a model on a label table, per track."""

from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scripts.apps.api.batching import map_ahead
from scripts.apps.api.errors import Refusal, of_audio
from scripts.apps.api.paths import Folders
from scripts.apps.api.schemas import Evaluation, EvaluationRequest, file_error
from scripts.apps.api.service import Model
from scripts.common.errors import AudioError, ProjectError, TableError
from scripts.metrics.multi_label import per_label, tag_intervals, tag_scores
from scripts.metrics.single_label import bootstrap_interval, macro_f1, per_genre
from scripts.tables.label_matrix import label_matrix
from scripts.tables.label_table import LABELS, read_table

FILES_AHEAD = 8  # of a table or folder, so that other requests get their turn
ERRORS_TOLD = 20
INTERVAL = "_interval_95"


class Lost(NamedTuple):
    """A track that is not scored, and why: in a word, and as the client is told."""

    path: str
    status: str
    refusal: Refusal


async def evaluate(model: Model, request: EvaluationRequest, folders: Folders, most: int) -> Evaluation:
    """Predict every track of the table, and score what could be predicted.

    Raises
    ------
    Refusal : 404 for a table outside the allowed folders, 413 for more than `most` tracks, 422 where none of them can
        be used.
    TableError : a table that is damaged, lacks a column or holds an unknown label.
    """
    table = await model.in_decoder(read_tracks, folders.find(request.table), request, model, most)
    truth = await model.in_decoder(read_truth, table, model, request.table)

    async def predict(path: str) -> np.ndarray | Lost:
        try:
            return (await model.predict(folders.find(path))).probabilities
        except AudioError as error:
            return Lost(path, error.status, of_audio(error, path))
        except Refusal as refusal:
            return Lost(path, "not allowed", refusal)

    async with aclosing(map_ahead(predict, table["file_path"], FILES_AHEAD)) as results:
        found = [one async for one in results]
    lost = [one for one in found if isinstance(one, Lost)]
    if len(lost) == len(found):
        path, _, refusal = lost[0]
        raise Refusal(422, f"none of {len(lost)} tracks can be used; {path}: {refusal.error}", refusal.what_to_do)
    used = np.array([not isinstance(one, Lost) for one in found])
    probabilities = np.stack([one for one in found if not isinstance(one, Lost)])
    scores = await model.in_decoder(score, truth[used], probabilities, model)
    return Evaluation(
        model=model.name,
        version=model.version,
        table=request.table,
        part=request.part,
        tracks=int(used.sum()),
        left_out=Counter(one.status for one in lost),
        errors=[file_error(one.path, one.refusal) for one in lost[:ERRORS_TOLD]],
        trained_on=await model.in_decoder(count_known, table[used], model),
        **scores,
    )


def read_tracks(path: Path, request: EvaluationRequest, model: Model, most: int) -> pd.DataFrame:
    """One row a track of the part that is asked for."""
    needed = ["track_id", "file_path", *LABELS[model.predictor.experiment.task][:1], *["split"] * bool(request.part)]
    try:
        table = read_table(path, needed).drop_duplicates("track_id")
    except TableError as error:
        raise TableError(str(error).replace(str(path), request.table)) from None
    if request.part:
        table = table[table["split"] == request.part]
    if table.empty:
        raise TableError(f"{request.table}: has no {request.part} tracks; ask for another part")
    if len(table) > most:
        raise Refusal(413, f"{len(table)} tracks in {request.table}, more than {most}", "send a part of the table")
    return table.reset_index(drop=True)


def read_truth(table: pd.DataFrame, model: Model, source: str) -> np.ndarray:
    """Class numbers [tracks], or labels [tracks, labels] with 1, 0 and NaN for unknown."""
    names = model.predictor.names
    if model.predictor.experiment.task == "multi":
        return label_matrix(table, names, source)
    unknown = sorted(set(table["genre"]) - set(names))
    if unknown:
        raise TableError(f"{source}: genre {unknown[0]!r}; {model.name} knows {', '.join(names)}; leave its tracks out")
    return table["genre"].map(names.index).to_numpy()


def score(truth: np.ndarray, probabilities: np.ndarray, model: Model) -> dict[str, Any]:
    """`scores`, `intervals` and `per_label`, as `Evaluation` holds them."""
    from scripts.reports.multi_label import without_nan  # here: with it come the packages that draw figures

    names, thresholds = model.predictor.names, model.predictor.thresholds
    if thresholds is None:
        scores, table = genre_scores(truth, probabilities, names)
    else:
        scores = tag_scores(truth, probabilities, thresholds) | tag_intervals(truth, probabilities, thresholds)
        table = per_label(truth, probabilities, thresholds, names)
    intervals = {name.removesuffix(INTERVAL): scores.pop(name) for name in list(scores) if name.endswith(INTERVAL)}
    return without_nan({"scores": scores, "intervals": intervals, "per_label": table.to_dict("index")})


def genre_scores(truth: np.ndarray, probabilities: np.ndarray, names: list[str]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Of one genre a track, and beside them what guessing would get."""
    predictions = probabilities.argmax(axis=1)
    table, correct = per_genre(truth, predictions, names), predictions == truth
    scores = {
        "track_accuracy": float(correct.mean()),
        f"track_accuracy{INTERVAL}": bootstrap_interval(correct),
        "macro_f1": macro_f1(table),
        "chance": 1 / len(names),
        "largest_genre": float(table["tracks"].max() / len(truth)),
    }
    return scores, table


def count_known(table: pd.DataFrame, model: Model) -> int | None:
    """How many of the tracks are in the training or validation part of the table that the model was trained on."""
    try:
        own = read_table(model.predictor.experiment.table, ["file_path", "split"])
    except ProjectError:
        return None
    known = {Path(path).resolve() for path in own.loc[own["split"] != "test", "file_path"].unique()}
    return sum(Path(path).resolve() in known for path in table["file_path"])
