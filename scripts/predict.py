"""The genre, or the labels, of audio files of any length, by a trained run."""

if __name__ == "__main__":  # as `python -m scripts predict`, whose help needs none of what follows
    from scripts.__main__ import run_file

    run_file("predict")

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator

from tqdm.auto import tqdm

from scripts.common.cli import command, pick, require
from scripts.common.errors import AudioError, ConfigError
from scripts.config.run import Run
from scripts.inference import flags
from scripts.inference.file_tags import Change, plan_change, write_genres
from scripts.inference.playlist import sort_rows, write_playlist
from scripts.inference.predict_folder import OK, Judge, Row, Table, audio_files, describe_model
from scripts.inference.predictor import Predictor
from scripts.inference.registry import find_run

LONGEST = 3 * 3600.0  # seconds; that much audio takes 2 GB


def show(row: Row, top: int, as_json: bool, several: bool) -> str:
    """One line of a file's likeliest names; `several` : the model finds any number of labels."""
    best = dict(sorted(row.probabilities.items(), key=lambda pair: -pair[1])[:top])
    if as_json:
        facts = {"file": row.file, "seconds": row.seconds, "windows": row.windows, "found": row.found}
        best = {name: round(value, 4) for name, value in best.items()}
        return json.dumps(facts | {"probabilities": best}, ensure_ascii=False)
    found = f"{', '.join(row.found) or 'nothing found'} | " if several or not row.found else ""
    return f"{row.file}: {found}" + ", ".join(f"{name} {value:.1%}" for name, value in best.items())


def say(line: str, **where) -> None:
    """Print a line in which a file's name need not be UTF-8."""
    print(line.encode("utf-8", "backslashreplace").decode(), flush=True, **where)


def predict_and_show(paths: list[str], judge: Judge, args: argparse.Namespace) -> list[Row]:
    """A line for each file."""
    rows = []
    for path in paths:
        rows.append(row := judge(path))
        if row.status == OK:
            say(show(row, args.top, args.json, judge.thresholds is not None))
        else:
            say(f"skipped: {row.file}: {row.reason}", file=sys.stderr)
    return rows


def predict_to_table(paths: list[str], judge: Judge, table: Table) -> list[Row]:
    """A row for each file in the table; those that are there already stay, unless the file or the model has changed."""
    known, wanted = table.read(), set(paths)
    rows = {file: judge.judge(row) for file, row in known.items() if file in wanted and judge.is_current(row)}
    others = [row for file, row in known.items() if file not in wanted]
    missing = [path for path in paths if path not in rows]
    table.write([*others, *rows.values()])
    with table.appending() as append:
        for path in tqdm(missing, "predicting", unit=" files", disable=None):  # None: only in a terminal
            rows[path] = judge(path)
            append(rows[path])
    say(f"{table.path}: {len(missing)} files predicted, {len(paths) - len(missing)} were there")
    return [rows[path] for path in paths]


def describe_failures(rows: list[Row]) -> str:
    """How many files have no prediction, and why; empty if all have."""
    statuses = Counter(row.status for row in rows if row.status != OK)
    reasons = ", ".join(f"{count} {status}" for status, count in statuses.items())
    return f"{statuses.total()} of {len(rows)} files could not be predicted ({reasons})" if statuses else ""


def plan_tags(rows: list[Row]) -> Iterator[Change]:
    """The changes that the found names make in the files' metadata; what cannot be written is said."""
    for row in rows:
        try:
            change = plan_change(row.file, row.found) if row.found else None
        except AudioError as error:
            say(f"not tagged: {error}", file=sys.stderr)
            continue
        if change and change.old != change.new:
            yield change


def ask(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def tag(rows: list[Row], dry_run: bool, sure: bool) -> list[str]:
    """Write the found names into the files' metadata, after a question unless `sure`; returns the files it changed."""
    changes = list(plan_tags(rows))
    if dry_run or not sure:
        for change in changes:
            say(f"{change.path}: genre {', '.join(change.old) or '-'} -> {', '.join(change.new)}")
    what = f"the genre in the metadata of {len(changes)} files"
    if dry_run or not (sure or not changes or ask(f"change {what}?")):
        say(f"would change {what}; nothing was written")
        return []
    for change in changes:
        write_genres(change)
    say(f"changed {what}")
    return [change.path for change in changes]


def check(args: argparse.Namespace) -> None:
    """Refuse what could only fail after all the work; raises a ConfigError."""
    if args.least is not None and not 0 <= args.least <= 1:
        raise ConfigError(f"--least is {args.least}; give a probability from 0 to 1")
    if not 0 < args.longest < float("inf"):
        raise ConfigError(f"--longest is {args.longest}; give a number of seconds above 0")
    if args.only and not args.playlist:
        raise ConfigError("--only chooses what stands in a playlist; give --playlist FILE.m3u8 too")
    if (args.dry_run or args.yes) and not args.write_tags:
        raise ConfigError("--dry-run and --yes belong to --write-tags; give it too, or leave them out")
    if args.write_tags:
        require("mutagen", what="--write-tags")
        if not (args.dry_run or args.yes or sys.stdin.isatty()):
            raise ConfigError("--write-tags asks before it changes files, and nobody is there; give --yes or --dry-run")


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.predict(argv)
    check(args)
    run = Run(args.run, args.runs) if args.run else find_run(args.model, args.runs, args.registry)
    predictor = Predictor(run, args.overlap, args.longest)
    if args.only:
        pick("genre or label", args.only, predictor.names)
    paths, judge = audio_files(args.files), Judge(predictor, describe_model(run, predictor), args.least)
    if args.out:
        table = Table(args.out, predictor.names)
        rows = predict_to_table(paths, judge, table)
    else:
        rows = predict_and_show(paths, judge, args)
    if args.playlist:
        count = write_playlist(args.playlist, sort_rows(rows, args.only))
        say(f"{args.playlist}: {count} files")
    if args.write_tags:
        changed = tag(rows, args.dry_run, args.yes)
        if args.out:
            table.restamp(changed)
    failures = describe_failures(rows)
    if failures and not args.out:
        raise ConfigError(f"{failures}; the reasons stand above")
    if failures:
        say(f"{failures}; the reasons stand in {args.out}")
