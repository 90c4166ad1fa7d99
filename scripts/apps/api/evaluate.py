"""The scores of a model on a label table, per track."""

from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from scripts.apps.api.batching import map_ahead
from scripts.apps.api.errors import ApiError, from_audio_error
from scripts.apps.api.paths import AllowedFolders
from scripts.apps.api.schemas import Evaluation, EvaluationRequest, file_error
from scripts.apps.api.service import Model
from scripts.common.errors import AudioError, ProjectError, TableError
from scripts.metrics.multi_label import multi_label_intervals, multi_label_scores, per_label
from scripts.metrics.single_label import bootstrap_interval, macro_f1, per_genre
from scripts.tables.label_matrix import label_matrix
from scripts.tables.label_table import LABELS, read_table

FILES_AHEAD = 8  # of a table or folder, so that other requests get their turn
MAX_ERRORS = 20  # in an answer
INTERVAL = "_interval_95"


class SkippedTrack(NamedTuple):
    """A track that is not scored, and why: in a word, and as the client reads it."""

    path: str
    status: str
    refusal: ApiError


async def evaluate(model: Model, request: EvaluationRequest, folders: AllowedFolders, max_tracks: int) -> Evaluation:
    """Predict every track of the table, and score what could be predicted.

    Raises
    ------
    ApiError : 404 for a table outside the allowed folders, 413 for more than `max_tracks`, 422 where none of them can
        be used.
    TableError : a table that is damaged, lacks a column or holds an unknown label.
    """
    table = await model.in_decoder_pool(read_tracks, folders.find(request.table), request, model, max_tracks)
    truth = await model.in_decoder_pool(read_truth, table, model, request.table)

    async def predict(path: str) -> np.ndarray | SkippedTrack:
        try:
            return (await model.predict(folders.find(path))).probabilities
        except AudioError as error:
            return SkippedTrack(path, error.status, from_audio_error(error, path))
        except ApiError as refusal:
            return SkippedTrack(path, "not allowed", refusal)

    async with aclosing(map_ahead(predict, table["file_path"], FILES_AHEAD)) as results:
        answers = [answer async for answer in results]
    skipped = [answer for answer in answers if isinstance(answer, SkippedTrack)]
    if len(skipped) == len(answers):
        path, _, refusal = skipped[0]
        raise ApiError(422, f"none of {len(skipped)} tracks can be used; {path}: {refusal.error}", refusal.what_to_do)
    used = np.array([not isinstance(answer, SkippedTrack) for answer in answers])
    probabilities = np.stack([answer for answer in answers if not isinstance(answer, SkippedTrack)])
    scores = await model.in_decoder_pool(score, truth[used], probabilities, model)
    return Evaluation(
        model=model.name,
        version=model.version,
        table=request.table,
        part=request.part,
        tracks=int(used.sum()),
        left_out=Counter(track.status for track in skipped),
        errors=[file_error(track.path, track.refusal) for track in skipped[:MAX_ERRORS]],
        trained_on=await model.in_decoder_pool(count_known, table[used], model),
        **scores,
    )


def read_tracks(path: Path, request: EvaluationRequest, model: Model, max_tracks: int) -> pd.DataFrame:
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
    if len(table) > max_tracks:
        problem = f"{len(table)} tracks in {request.table}, more than {max_tracks}"
        raise ApiError(413, problem, "send a part of the table")
    return table.reset_index(drop=True)


def read_truth(table: pd.DataFrame, model: Model, source: str) -> np.ndarray:
    """Class numbers [tracks], or labels [tracks, labels] with 1, 0 and NaN for unknown."""
    names = model.predictor.names
    if model.predictor.experiment.task == "multi_label":
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
        answers = truth, probabilities, thresholds
        scores = multi_label_scores(*answers) | multi_label_intervals(*answers)
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
        own = read_table(model.predictor.experiment.data.table, ["file_path", "split"])
    except ProjectError:
        return None
    known = {Path(path).resolve() for path in own.loc[own["split"] != "test", "file_path"].unique()}
    return sum(Path(path).resolve() in known for path in table["file_path"])
