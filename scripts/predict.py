"""The genre, or the labels, of audio files of any length, by a trained run.

    python -m scripts.predict song.mp3 other.wav --top 3
    python -m scripts.predict my_music --model genres@production --out predictions.csv
    python -m scripts.predict my_music --out predictions.csv --write-tags --dry-run
    python -m scripts.predict my_music --out predictions.csv --playlist jazz.m3u8 --only Jazz --least 0.7

Of folders, all audio files at any depth are taken. With --out each file gets a row as soon as it is predicted, also
one that cannot be used, with the reason; started again, the command passes over files that have not changed.
docs/predict.md says more.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from scripts.common.cli import command, pick, positive_int
from scripts.common.errors import AudioError, ConfigError
from scripts.common.packages import require
from scripts.config.run import Run
from scripts.inference.file_tags import Change, plan_change, write_genres
from scripts.inference.playlist import sort_rows, write_playlist
from scripts.inference.predict_folder import OK, Judge, Row, Table, audio_files, describe_model
from scripts.inference.predictor import Predictor
from scripts.inference.registry import add_registry_flags, find_run

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


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("files", nargs="+", help="audio files of any length from one clip up, and folders of them")
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--run", help="name of a trained run, as in runs/reports/")
    model.add_argument(
        "--model", metavar="REFERENCE", help="name@stage, name@version or name in the registry, or a run"
    )
    add("--top", type=positive_int, default=3, help="how many genres or labels to print; default: 3")
    add("--least", type=float, metavar="P", help="probability from which on a genre or label is found; see docs")
    add("--overlap", type=float, help="share of a window that the next repeats; default: as in the test")
    add("--longest", type=float, default=LONGEST, metavar="SECONDS", help="refuse longer files; default: %(default)g")
    add("--json", action="store_true", help="one JSON object a line")
    add("--out", type=Path, metavar="CSV", help="write a row for each file instead; goes on where it was stopped")
    add("--playlist", type=Path, metavar="M3U8", help="also write a playlist of the files in which something is found")
    add("--only", metavar="NAME", help="the playlist holds only files in which this genre or label is found")
    add("--write-tags", action="store_true", help="also put what is found into the files' own metadata, as genre")
    add("--dry-run", action="store_true", help="only show what --write-tags would change")
    add("--yes", action="store_true", help="let --write-tags change the files without a question")
    add_registry_flags(parser)
    return parser.parse_args(argv)


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
    args = parse(argv)
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


if __name__ == "__main__":
    main()
