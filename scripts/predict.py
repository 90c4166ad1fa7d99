"""The genre, or the labels, of audio files of any length, by a trained run."""

if __name__ == "__main__":  # as `python -m scripts predict`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("predict")

import argparse
import contextlib
import itertools
import json
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from scripts.common.cli import command, pick, require
from scripts.common.engines import Engine, open_engine
from scripts.common.errors import AudioError, ConfigError
from scripts.common.lock import locked
from scripts.common.memory import keep_freed_memory
from scripts.config.run import Run
from scripts.inference import flags
from scripts.inference.cluster import predict_by_engine
from scripts.inference.file_tags import (
    NO_FIELD,
    Change,
    Existing,
    are_genres,
    has_genre,
    plan_change,
    rehearse,
    write_genres,
)
from scripts.inference.formats import table_path, write_label_files, write_parquet
from scripts.inference.playlist import can_stand, seen_from, sort_rows, write_playlist
from scripts.inference.predict_folder import OK, FilePredictor, Row, Table, audio_files, describe_model
from scripts.inference.predictor import Predictor
from scripts.inference.registry import find_run

FEW_FILES = 16  # up to so many, starting processes takes longer than they save
TAG_FLAGS = ("dry-run", "yes", "keep", "append", "only-missing", "as-genre")
UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of control characters, of what is no text, of line breaks


def format_row(row: Row, top: int, as_json: bool, multi_label: bool) -> str:
    """One line with a file's likeliest labels; `multi_label` : the model may predict any number of them."""
    best = dict(sorted(row.probabilities.items(), key=lambda pair: -pair[1])[:top])
    if as_json:
        facts = {"file": row.file, "seconds": row.seconds, "windows": row.windows, "found": row.labels}
        facts |= {} if row.distance is None else {"unfamiliar": row.unfamiliar, "distance": row.distance}
        facts |= {"reason": row.reason} if row.reason else {}
        facts |= {} if row.start_s is None else {"start_s": row.start_s, "end_s": row.end_s}
        best = {name: round(value, 4) for name, value in best.items()}
        ascii_alone = (sys.stdout.encoding or "utf-8").lower().replace("-", "") != "utf8"
        return json.dumps(facts | {"probabilities": best}, ensure_ascii=ascii_alone)
    labels = f"{', '.join(row.labels) or 'no label'} | " if multi_label or not row.labels else ""
    chances = ", ".join(f"{name} {value:.1%}" for name, value in best.items())
    file = row.file if row.start_s is None else f"{row.file}, {row.start_s:.1f} to {row.end_s:.1f} s"
    if row.unfamiliar:
        labels, chances = "", f"none of these (nearest: {chances}), unlike the sounds of training"
    return f"{file}: {labels}{chances}" + (f" ({row.reason})" if row.reason else "")


def print_line(line: str, file: TextIO | None = None) -> None:
    """Print one line, with control characters and bytes that are not UTF-8 in a file's name escaped."""
    stream = file or sys.stdout
    encoding = stream.encoding or "utf-8"
    line = "".join(f"\\u{ord(sign):04x}" if unicodedata.category(sign) in UNPRINTABLE else sign for sign in line)
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


PredictFiles = Callable[[list[str]], Iterator[list[Row]]]  # paths -> the rows of each file, in turn


def predict_here(paths: list[str], predict_file: FilePredictor, in_processes: bool) -> Iterator[list[Row]]:
    """The rows of each file, in turn; in this process, or decoded on all cores."""
    if not in_processes:
        return map(predict_file, paths)
    keep_freed_memory(one_heap=True)
    return predict_file.in_processes(paths)


def predict_and_show(
    paths: list[str], predict_file: FilePredictor, predict_files: PredictFiles, args: argparse.Namespace
) -> list[list[Row]]:
    """A line for each file, or for each window."""
    answers = []
    for rows in predict_files(paths):
        answers.append(rows)
        for row in rows:
            if row.status == OK:
                print_line(format_row(row, args.top, args.json, predict_file.thresholds is not None))
            else:
                print_line(f"skipped: {row.file}: {row.reason}", file=sys.stderr)
    return answers


def predict_to_table(
    paths: list[str], predict_file: FilePredictor, predict_files: PredictFiles, table: Table
) -> list[list[Row]]:
    """Rows for each file in the table; those that are there already stay, unless the file or the model has changed."""
    known, wanted = table.read(), set(paths)
    current = {file: rows for file, rows in known.items() if file in wanted and predict_file.is_current(rows)}
    answers = {file: list(map(predict_file.with_labels, rows)) for file, rows in current.items()}
    others = [rows for file, rows in known.items() if file not in wanted]
    missing = [path for path in paths if path not in answers]
    table.write(itertools.chain(*others, *answers.values()))
    with table.appending() as append, tqdm(total=len(missing), desc="predicting", unit=" files", disable=None) as bar:
        for path, rows in zip(missing, predict_files(missing), strict=True):
            answers[path] = rows
            append(rows)
            bar.update()
    print_line(f"{table.path}: {len(missing)} files predicted, {len(paths) - len(missing)} were there")
    return [answers[path] for path in paths]


def describe_failures(rows: list[Row]) -> str:
    """The number of files without a prediction, by reason; empty if all have one."""
    statuses = Counter(row.status for row in rows if row.status != OK)
    reasons = ", ".join(f"{count} {status}" for status, count in statuses.items())
    return f"{statuses.total()} of {len(rows)} files could not be predicted ({reasons})" if statuses else ""


def make_playlist(path: Path, rows: list[Row]) -> None:
    """Write it, and report which files cannot stand in it."""
    count = write_playlist(path, rows)
    for row in rows:
        if not can_stand(seen_from(path.parent, row.file)):
            reason = "its path holds a line break or is not UTF-8; rename it"
            print_line(f"not in the playlist: {row.file}: {reason}", sys.stderr)
    print_line(f"{path}: {count} files" + (f", {len(rows) - count} left out" if count < len(rows) else ""))


def attempt(step: Callable[[Any], Any], items: Iterable[Any], failed: list[str]) -> Iterator[tuple[Any, Any]]:
    """Each item with what the step gives for it; files that it fails for are reported, and added to `failed`."""
    for item in items:
        try:
            yield item, step(item)
        except AudioError as error:
            print_line(f"not tagged: {error}", file=sys.stderr)
            if error.status != NO_FIELD:
                failed.append(error.path)


def describe_change(change: Change) -> str:
    return f"{change.path}: genre {', '.join(change.old) or '-'} -> {', '.join(change.new)}"


def ask(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def tag(rows: list[Row], args: argparse.Namespace, table: Table | None) -> str:
    """Write the predicted labels into the files' metadata, after a question unless --yes is given.

    The files that were changed get their new stamps in the table, if there is one, also when this is stopped half-way.
    Returns how many could not be changed; empty if all could.
    """
    folders = [path if Path(path).is_dir() else Path(path).parent for path in args.files]
    existing: Existing = "keep" if args.keep else "append" if args.append else "replace"
    labelled, done = [row for row in rows if row.labels], []
    failed: list[str] = []
    plans = attempt(lambda row: plan_change(row.file, row.labels, existing, folders), labelled, failed)
    changes = [change for _, change in plans if change.old != change.new]
    if args.dry_run:
        changes = [change for change, _ in attempt(rehearse, changes, failed)]
    if args.dry_run or not args.yes:
        for change in changes:
            print_line(describe_change(change))
    what = f"the genre in the metadata of {len(changes)} files"
    if args.dry_run or not (args.yes or not changes or ask(f"change {what}?")):
        print_line(f"would change {what}; nothing was written")
    else:
        try:
            for change, _ in attempt(write_genres, changes, failed):
                done.append(change.path)
                if args.yes:
                    print_line(describe_change(change))
        finally:
            if table and done:
                table.update_stamps(done)
        print_line(f"changed the genre in the metadata of {len(done)} files")
    return f"{len(failed)} of {len(labelled)} files could not be tagged" if failed else ""


def check(args: argparse.Namespace) -> None:
    """Refuse what could only fail after all the work; raises a ConfigError."""
    if args.format != "csv" and not args.out:
        raise ConfigError(f"--format {args.format} is of what --out names; give it too")
    if args.format == "parquet":
        require("pyarrow", what="--format parquet")
    given = [f"--{name}" for name in ("playlist", "write-tags") if getattr(args, name.replace("-", "_"))]
    if given and by_window(args):
        raise ConfigError(f"{', '.join(given)} need an answer for each file; leave out --windows, Audacity and Raven")
    if args.min_probability is not None and not 0 <= args.min_probability <= 1:
        raise ConfigError(f"--min-probability is {args.min_probability}; give a probability from 0 to 1")
    if args.longest is not None and not 0 < args.longest < float("inf"):
        raise ConfigError(f"--longest is {args.longest}; give a number of seconds above 0")
    if args.only and not args.playlist:
        raise ConfigError("--only chooses what stands in a playlist; give --playlist FILE.m3u8 too")
    given = [f"--{name}" for name in TAG_FLAGS if getattr(args, name.replace("-", "_"))]
    if given and not args.write_tags:
        raise ConfigError(f"{', '.join(given)} belong to --write-tags; give it too, or leave them out")
    if args.write_tags:
        require("mutagen", what="--write-tags")
        if not (args.dry_run or args.yes or sys.stdin.isatty()):
            raise ConfigError("--write-tags asks before it changes files, and nobody is there; give --yes or --dry-run")


def by_window(args: argparse.Namespace) -> bool:
    """Whether each window has a row: labels over time have to."""
    return args.windows or args.format in ("audacity", "raven")


def check_genres(run: str, predictor: Predictor) -> None:
    """Refuse to call labels genres that are something else; raises a ConfigError."""
    if predictor.thresholds is None and are_genres(predictor.names):
        return
    names = ", ".join(predictor.names[:3])
    raise ConfigError(
        f"the labels of {run} ({names}{', ...' if len(predictor.names) > 3 else ''}) need not be genres; "
        "add --as-genre to write them as genre all the same, or leave out --write-tags"
    )


def predict(args: argparse.Namespace, engine: Engine) -> None:
    """Do what the flags ask for; raises ConfigErrors."""
    run = Run(args.run, args.runs) if args.run else find_run(args.model, args.runs, args.registry)
    predictor = Predictor(run, args.overlap, args.longest)
    if args.only:
        pick("genre or label", args.only, predictor.names)
    if args.write_tags and not args.as_genre:
        check_genres(run.name, predictor)
    paths = audio_files(args.files)
    predict_file = FilePredictor(predictor, describe_model(run, predictor), args.min_probability, by_window(args))
    if args.only_missing:
        paths, given = [path for path in paths if not has_genre(path)], len(paths)
        print_line(f"{given - len(paths)} files have a genre and are passed over")
    table = Table(table_path(args.out, args.format), predictor.names, by_window(args)) if args.out else None
    if args.engine == "local":
        # by the number of all files: what a killed run has left gets the same digits as it would have got
        predict_files: PredictFiles = partial(
            predict_here, predict_file=predict_file, in_processes=len(paths) > FEW_FILES
        )
    else:
        predict_files = partial(predict_by_engine, engine, predict_file=predict_file, run=run)
    if table:
        answers = predict_to_table(paths, predict_file, predict_files, table)
    else:
        answers = predict_and_show(paths, predict_file, predict_files, args)
    if table and args.format == "parquet":
        write_parquet(args.out, table, itertools.chain.from_iterable(table.read().values()))
        print_line(f"{args.out}: the same as Parquet")
    elif args.format != "csv":
        count = write_label_files(args.out, args.format, answers, predictor.experiment.features.spec)
        print_line(f"{args.out}: labels of {count} files")
    rows = [first for first, *_ in answers]
    if args.playlist:
        make_playlist(args.playlist, sort_rows(rows, args.only))
    untagged = tag(rows, args, table) if args.write_tags else ""
    failures = describe_failures(rows)
    if failures and table:
        print_line(f"{failures}; the reasons stand in {table.path}")
    wrong = [text for text in (untagged, "" if table else failures) if text]
    if wrong:
        raise ConfigError(f"{'; '.join(wrong)}; the reasons stand above")


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.predict(argv)
    check(args)
    lock = locked(table_path(args.out, args.format)) if args.out else contextlib.nullcontext()
    with lock, open_engine(args.engine, args.address) as engine:
        predict(args, engine)
