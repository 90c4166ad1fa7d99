"""Tags the newest sounds of a source with a trained run, again and again, and puts them into a store."""

if __name__ == "__main__":  # as `python -m scripts tagger`
    from scripts.__main__ import run_file

    run_file("tagger")

import argparse
import contextlib
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from matplotlib.image import imsave

from scripts.apps import flags
from scripts.apps.store import Sound, Store
from scripts.apps.tagger.schedule import StopRequested, StopSignal, until_next
from scripts.apps.tagger.sources.contract import Offer, Source, SourceError
from scripts.apps.tagger.sources.folder import Folder
from scripts.apps.tagger.sources.freesound import Freesound, read_token
from scripts.apps.tagger.sources.rss import Feed
from scripts.apps.tagger.sources.web import Web
from scripts.apps.tagger.worklist import WorkList
from scripts.audio.spec import MelSpec
from scripts.common.cli import command, describe_os_error
from scripts.common.errors import AudioError, ConfigError, ProjectError
from scripts.common.lock import locked
from scripts.common.plotting import save
from scripts.common.storage import write_json
from scripts.inference.predictor import Predictor
from scripts.inference.registry import find_run, version_of
from scripts.inference.windows import Windows, whole
from scripts.utils.visualisation import waveform

TAGS_IN_JSON = 5


@dataclass
class TaggingResult:
    """What became of the sounds of one round, for its closing line.

    Attributes
    ----------
    source : name of the source.
    asked, newest : number of newest sounds that were asked for, and that there were.
    known : number of these that the store had already.
    todo, stored : number of sounds to store, earlier ones included, and of those that were stored.
    failures : number of sounds that failed, by reason.
    given_up : number of sounds that were not tried any more because they failed before, by reason.
    surprises : number of failures that were not known from before.
    again : whether some of what is missing will be tried again.
    """

    source: str
    asked: int
    newest: int
    known: int
    todo: int
    stored: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    given_up: Counter[str] = field(default_factory=Counter)
    surprises: int = 0
    again: bool = False

    def __str__(self) -> str:
        """One line."""
        failed, fewer = self.failures.total(), f" ({self.asked} asked for)" if self.newest < self.asked else ""
        parts = [f"{self.newest} newest sounds{fewer}", f"{self.known} there already", f"{self.stored} stored"]
        parts.append(f"{failed} failed{by_reason(self.failures)}")
        parts += [f"{self.given_up.total()} given up earlier{by_reason(self.given_up)}"] * bool(self.given_up)
        left = self.todo - self.stored - failed
        parts += [f"{left} not reached"] * bool(left)
        again = "; what is missing is tried again the next time" if self.again or left else ""
        return f"{self.source}: {', '.join(parts)}{again}"


def by_reason(counts: Counter[str]) -> str:
    """In parentheses, the most frequent first; empty if there are none."""
    return f" ({', '.join(f'{reason}: {count}' for reason, count in counts.most_common())})" if counts else ""


class Tagger:
    """Fetches offers of a source, predicts them and stores them; files on their way lie in the folder `downloads`."""

    def __init__(self, source: Source, store: Store, predictor: Predictor, model: str, downloads: Path) -> None:
        self.source, self.store, self.predictor, self.model, self.downloads = source, store, predictor, model, downloads

    def add(self, offer: Offer) -> None:
        """Store one sound, all of it or nothing.

        Raises
        ------
        SourceError, AudioError : it cannot be fetched or decoded.
        StoreError, OSError : it cannot be stored.
        """
        audio, image = self.downloads / f"{offer.key}{offer.suffix}", self.downloads / f"{offer.key}.png"
        try:
            self.source.fetch(offer, audio)
            file = self.predictor.prepare(audio)
            [prediction] = self.predictor.predict([file])
            save_picture(file, self.predictor, image)
            probabilities = dict(zip(prediction.names, prediction.probabilities.tolist(), strict=True))
            facts = (offer.key, offer.title, offer.url, offer.creator, offer.licence, offer.created)
            sound = Sound(*facts, prediction.seconds, self.model, probabilities, prediction.labels)
            self.store.add(sound, audio, image)
        except AudioError as error:  # names the copy, which nobody knows
            where = self.source.where(offer)
            raise AudioError(where, error.status, error.reason.replace(str(audio), where), error.remedy) from None
        finally:
            audio.unlink(missing_ok=True)
            image.unlink(missing_ok=True)


def save_picture(file: Windows, predictor: Predictor, path: Path) -> None:
    """The spectrogram that the network sees, a pixel for each value; of a network on waveforms the waveform."""
    spec = predictor.experiment.features.spec
    samples = whole(file, spec.sample_rate)
    if spec.kind == "waveform":
        save(waveform(samples, spec.sample_rate), path)
    else:
        values = predictor.transform(samples)
        imsave(path, values.reshape(-1, *values.shape[-2:])[0, ::-1], cmap="magma")


def tag_newest(args: argparse.Namespace, stop: StopSignal) -> TaggingResult:
    """One round: the newest sounds of the source that the store lacks, and earlier ones that failed.

    Raises
    ------
    ConfigError, CheckpointError : no token, no such model or folder.
    SourceError : the source cannot be asked.
    BusyError : another tagger is at work on it.
    StoreError, OSError : the store cannot be written.
    """
    run = find_run(args.model, args.runs, args.registry)
    source, store = make_source(args, run.experiment().features.spec, stop), Store(args.store)
    place = args.store / "tagger" / source.place
    downloads = place / "downloads"
    with locked(place):
        shutil.rmtree(downloads, ignore_errors=True)
        newest = source.newest(args.count)
        model = version_of(run)
        settings = f"{model}, {args.longest:g} s, {args.largest} MiB" + ", private" * args.allow_private
        work_list = WorkList(place / "todo.json", settings, source.tries)
        todo = work_list.plan(newest, store.has)
        known = sum(store.has(offer.key) for offer in newest)
        result = TaggingResult(source.name, args.count, len(newest), known, len(todo), given_up=work_list.given_up)
        if todo:
            downloads.mkdir()
            predictor = Predictor(run, longest=args.longest)
            work(Tagger(source, store, predictor, model, downloads), todo, work_list, result, stop)
            work_list.forget(store.has)
    if args.json:
        write_json(args.json, store.likeliest(TAGS_IN_JSON))
    return result


def work(tagger: Tagger, todo: list[Offer], work_list: WorkList, result: TaggingResult, stop: StopSignal) -> None:
    """Add the offers one after the other, until it should stop."""
    for offer in todo:
        if stop.requested:
            return
        try:
            tagger.add(offer)
            result.stored += 1
        except (SourceError, AudioError) as error:
            reason = error.reason if isinstance(error, SourceError) else error.status
            temporary = isinstance(error, SourceError) and error.pause is not None
            result.failures[reason] += 1
            known = work_list.fail(offer, "" if temporary else reason)
            result.surprises += temporary or not known
            result.again |= temporary or not work_list.is_given_up(work_list.rows[offer.key])
            print(f"failed: {offer.key}: {error}", file=sys.stderr, flush=True)
        except StopRequested:
            return


def make_source(args: argparse.Namespace, spec: MelSpec, stop: StopSignal) -> Source:
    """The source that the flags name; raises a ConfigError if it lacks a token, a folder or an address."""
    largest = args.largest * 2**20
    if args.source == "folder":
        return Folder(args.folder, largest)
    web = Web(largest, stop.wait, allow_private=args.allow_private)
    if args.source == "rss":
        return Feed(web, args.feed)
    return Freesound(web, read_token(), spec.min_samples / spec.sample_rate, args.longest)


def repeat(args: argparse.Namespace, stop: StopSignal) -> None:
    """A round at once, and then whenever the period has passed; one that fails is reported."""
    start = time.monotonic()
    while True:
        try:
            print(tag_newest(args, stop), flush=True)
        except ProjectError as error:
            print(f"failed round: {error}", file=sys.stderr, flush=True)
        except OSError as error:
            print(f"failed round: {describe_os_error(error)}", file=sys.stderr, flush=True)
        pause = until_next(time.monotonic() - start, args.every)
        if not stop.requested:
            print(f"next round: {datetime.now(UTC) + timedelta(seconds=pause):%Y-%m-%d %H:%M:%S} UTC", flush=True)
        stop.wait(pause)


def once(args: argparse.Namespace, stop: StopSignal) -> None:
    """One round; raises a SourceError if it stored nothing, though it was not known of all sounds that they fail."""
    result = tag_newest(args, stop)
    if result.surprises and not result.stored:
        raise SourceError(str(result), "nothing stored")
    print(result)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.tagger(argv)
    for source, flag in (("folder", "folder"), ("rss", "feed")):
        if args.source == source and getattr(args, flag) is None:
            raise ConfigError(f"--source {source} needs --{flag}; give it")
    with StopSignal() as stop, contextlib.suppress(StopRequested):
        repeat(args, stop) if args.every else once(args, stop)
    if stop.requested:
        print("stopped; the same command goes on where this one ended")
