"""The flags of the apps."""

import argparse
import os
from pathlib import Path

from scripts.apps.access import PASSWORD, TOKEN
from scripts.apps.api.limits import Limits
from scripts.apps.ports import port_number
from scripts.apps.tagger.schedule import period
from scripts.common.cli import flags, positive_int, positive_number
from scripts.inference.flags import add_registry_flags


def add_access_flags(parser: argparse.ArgumentParser, port: int, secret: str, variable: str) -> None:
    """Where an app is served, and who may use it; the environment `variable` holds the default of the flag `secret`."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help=f"default: 127.0.0.1; others, such as 0.0.0.0, need a {secret}")
    add("--port", type=port_number, default=port, help="default: %(default)s")
    add(f"--{secret}", default=os.environ.get(variable), help=f"that people need; default: the variable {variable}")
    add("--hosts", nargs="+", default=[], metavar="NAME", help="it is reached by, besides localhost; with a proxy")


def add_store_flag(parser: argparse.ArgumentParser) -> None:
    """Where the tagged sounds are."""
    home = Path("data/sounds")
    parser.add_argument("--store", type=Path, default=home, metavar="FOLDER", help="default: %(default)s")


@flags
def try_it(parser: argparse.ArgumentParser) -> None:
    """Serve a page to drop a song on and see what a trained run finds in it, moment by moment.

    python -m scripts try_it --model fma_cnn_3s --port 7860

    Without --model it takes the model in production, else the run on FMA or on the demo corpus. docs/try_it.md says
    more.
    """
    add = parser.add_argument
    add("--model", metavar="REF", help="a run, or a registered model such as genres@production")
    add_access_flags(parser, 7860, "password", PASSWORD)
    add_registry_flags(parser)


@flags
def api(parser: argparse.ArgumentParser) -> None:
    """Serve trained runs over HTTP: files in, labels over time out.

        python -m scripts api --model fma_cnn_3s
        curl -F files=@song.mp3 http://127.0.0.1:8000/predict
        python -m scripts api --model genres@production --host 0.0.0.0 --allow data/new_songs

    GET /health, GET /models, POST /predict, POST /predict/stream and POST /evaluate; /docs has them all with examples,
    and docs/api.md says more. Where others can reach it, it needs a token: --token, or the variable AUDIO_API_TOKEN.
    SIGTERM and Ctrl-C let it finish what runs.
    """
    add, default = parser.add_argument, Limits()
    add("--model", nargs="+", default=[None], metavar="REF", help="runs, or models as NAME@STAGE; the first is default")
    add_access_flags(parser, 8000, "token", TOKEN)
    add("--allow", nargs="+", default=[], metavar="FOLDER", help="folders that requests may name; default: none")
    add("--upload-mb", type=positive_number, default=default.upload_mb, help="of a request; default: %(default)s")
    add("--files", type=positive_int, default=default.files, help="of a request; default: %(default)s")
    add("--seconds", type=positive_number, default=default.seconds, help="of audio in a file; default: %(default)s")
    add("--requests", type=positive_int, default=default.requests, help="at a time; default: %(default)s")
    add(
        "--rate",
        type=positive_number,
        default=default.rate,
        help="requests a minute of each client; default: %(default)s",
    )
    add("--windows", type=positive_int, help="of a forward pass; default: 64, or 192 s of audio")
    add_registry_flags(parser)


@flags
def tagger(parser: argparse.ArgumentParser) -> None:
    """Tag the newest sounds of a source with a trained run, at intervals, and store them.

        FREESOUND_TOKEN=... python -m scripts tagger --source freesound --count 20 --model genres@production --every 3d
        python -m scripts tagger --source folder --folder recordings --once
        python -m scripts tagger --source rss --feed https://example.org/podcast.xml --longest 3600 --once

    Stored by id: the audio, a picture of its spectrogram, and the probabilities. What is there already is left alone,
    and what failed or was not reached is tried again the next time, so it may be stopped or killed at any moment.
    """
    add = parser.add_argument
    add("--source", required=True, choices=("freesound", "folder", "rss"), help="where the sounds come from")
    add("--folder", type=Path, metavar="FOLDER", help="of --source folder: audio files at any depth")
    add("--feed", metavar="URL", help="of --source rss: the address of an RSS or Atom feed")
    add("--count", type=positive_int, default=10, help="so many of the newest are looked at; default: 10")
    add("--model", metavar="REF", help="a run, or name, name@stage or name@3 of the registry; default: what is there")
    add_store_flag(parser)
    add("--longest", type=positive_number, default=300.0, help="seconds; longer sounds are left out; default: 300")
    add("--largest", type=positive_int, default=64, help="MiB; larger files are left out; default: 64")
    add("--allow-private", action="store_true", help="also fetch from this machine and from private networks")
    add("--json", type=Path, metavar="FILE", help="after each round, write {id: [five likeliest tags]} of all sounds")
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--every", type=period, metavar="TIME", help="a round at once, then every 90s, 30m, 12h, 3d ...")
    when.add_argument("--once", action="store_true", help="one round, for cron")
    add_registry_flags(parser)


@flags
def monitor(parser: argparse.ArgumentParser) -> None:
    """Serve a page with the newest tagged sounds: hear them, correct tags, see how the model does.

    python -m scripts monitor --store data/sounds --port 7861

    `python -m scripts tagger` fills the store. Any number of people may correct at a time.
    """
    add_store_flag(parser)
    parser.add_argument("--free-tags", action="store_true", help="people may add tags that no model knows")
    add_access_flags(parser, 7861, "password", PASSWORD)


@flags
def corrections(parser: argparse.ArgumentParser) -> None:
    """Export what people corrected, for training: a label table, and overrides of such a table.

    python -m scripts corrections --store data/sounds --out data/sounds/exports

    Written are labels.csv and overrides.csv of all sounds that somebody corrected or confirmed, whose tags count as
    complete, and genres.csv and genre_overrides.csv of those with exactly one tag, for a model of genres. `merge` puts
    such a table into that of the next training. docs/corrections.md has the whole way.
    """
    add_store_flag(parser)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: exports/ in the store")


@flags
def retrain(parser: argparse.ArgumentParser) -> None:
    """Train a registered model again on people's corrections; it takes over if it is not worse.

    python -m scripts retrain genres --store data/sounds

    The corrected sounds join the training tracks of the version in production. Both versions are tested on the same
    tracks; the new one goes into production, or into staging where its score is lower. docs/corrections.md says more.
    """
    parser.add_argument("name", help="of the registered model, such as genres")
    add_store_flag(parser)
    add_registry_flags(parser)
