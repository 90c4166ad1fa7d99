"""The embeddings of a run's tracks, as a table and as a map of the plane."""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from scripts.analysis import flags
from scripts.analysis.explain_figures import embedding_map
from scripts.common.cli import command, pick
from scripts.common.errors import ConfigError
from scripts.common.plotting import save
from scripts.common.storage import write_csv
from scripts.config.run import Run
from scripts.evaluate import BEST, check_split, tester
from scripts.loading.experiment_data import Data
from scripts.reports.tensorboard import embed_tracks
from scripts.tables.label_matrix import split_names
from scripts.tables.label_table import LABELS

METHODS = ("pca", "tsne")
PERPLEXITY = 30  # of t-SNE, if there are enough tracks


def embeddings(run: Run, part: str = "test", method: str = "pca", seed: int = 0) -> pd.DataFrame:
    """Write the table and the map of a part's embeddings, and return the table.

    Parameters
    ----------
    run : whose best epoch makes the embeddings.
    part : "train", "validation" or "test".
    method : of the map, "pca" or "tsne".
    seed : of the map.

    Returns
    -------
    Columns track_id, genre or labels, and e0, e1, ...

    Raises
    ------
    ConfigError : no such run or method, its table now holds another split, or there is too little for a map.
    TableError, CacheError, CheckpointError : something it needs is missing or damaged.
    """
    experiment = run.experiment()
    data = Data.load(experiment)
    check_split(run, experiment, data)
    if part not in set(data.items.tracks["split"]):
        raise ConfigError(f"{run.name} has no {part} tracks; choose another --part")
    column, loader = LABELS[experiment.task][0], data.scoring_loader(experiment, part)
    vectors = embed_tracks(tester(run, experiment, BEST)[0], loader)
    points, names = project(vectors, method, seed)
    tracks = loader.items.tracks[["track_id", column]]
    table = tracks.join(pd.DataFrame(vectors).add_prefix("e").round(6))
    stem = "embeddings" if part == "test" else f"embeddings_{part}"
    path, figure = run.report / f"{stem}.csv", run.report / f"{stem}_{method}.png"
    write_csv(path, table)
    groups = tracks[column]
    if column == "labels":
        groups = groups.map(lambda cell: next(iter(split_names(cell)), "none"))  # the first label of each track
    save(embedding_map(points, groups, names, f"{run.name}, {part}: {len(tracks)} tracks"), figure)
    print(f"{path}: {vectors.shape[1]} dimensions of {len(tracks)} tracks\n{figure}: {', '.join(names)}")
    return table


def project(vectors: np.ndarray, method: str, seed: int = 0) -> tuple[np.ndarray, tuple[str, str]]:
    """Embeddings [tracks, width] -> [tracks, 2] and the names of both axes.

    Raises
    ------
    ConfigError : an unknown method, fewer than 3 tracks, or only one dimension.
    """
    pick("method", method, METHODS)
    if len(vectors) < 3 or vectors.shape[1] < 2:
        raise ConfigError(
            f"{len(vectors)} tracks with {vectors.shape[1]} dimensions; a map needs 3 tracks, 2 dimensions"
        )
    if method == "tsne":
        tsne = TSNE(perplexity=min(PERPLEXITY, (len(vectors) - 1) / 3), random_state=seed)
        return tsne.fit_transform(vectors), ("t-SNE 1", "t-SNE 2")
    pca = PCA(2, random_state=seed)
    points = pca.fit_transform(vectors)
    first, second = (
        f"component {n} ({share:.1%} of the variance)" for n, share in enumerate(pca.explained_variance_ratio_, 1)
    )
    return points, (first, second)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.embeddings(argv)
    embeddings(Run(args.run, args.runs), args.part, args.method, args.seed)
