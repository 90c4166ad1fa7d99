"""What a card of the monitor shows of a sound, as HTML; whatever a source or a person wrote is escaped."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from scripts.apps.markup import text
from scripts.apps.store import CONFIRM, Correction, Sound, StoredSound

TOP = 3  # probabilities on a card
WEB = re.compile(r"https?://", re.IGNORECASE)
VERBS = {"add": "added", "remove": "removed", CONFIRM: "confirmed all"}
CSS, SCRIPT = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("monitor.css", "monitor.js"))


def describe(stored: StoredSound) -> str:
    """Title, spectrogram, player, and the likeliest labels with bars."""
    sound = stored.sound
    title, facts = title_of(sound), [sound.creator, moment(sound.created), f"{sound.seconds:.1f} s"]
    best = sorted(sound.probabilities.items(), key=lambda item: -item[1])[:TOP]
    return (
        f'<h2 title="{text(title)}">{link(title, sound.url)}</h2>'
        f'<p class="facts" title="{text(sound.licence)}">{text(" · ".join(filter(None, facts)))}</p>'
        f'<img src="{address(stored.image)}" alt="Spectrogram of {text(title)}" loading="lazy">'
        f'<audio src="{address(stored.audio)}" controls preload="none" aria-label="Play {text(title)}"></audio>'
        f'<div class="scores" title="What {text(sound.model)} says">{"".join(bar(*one) for one in best)}</div>'
    )


def title_of(sound: Sound) -> str:
    return sound.title or sound.key


def bar(label: str, probability: float) -> str:
    share = f"{probability:.0%}"
    return f'<span>{text(label)}</span><i><b style="width:{share}"></b></i><span>{share}</span>'


def history(stored: StoredSound) -> str:
    """The last correction of the sound, and all before it in a list that opens."""
    if not stored.corrections:
        return '<p class="history">not checked yet</p>'

    def sentence(correction: Correction) -> str:
        label = f" <em>{text(correction.label)}</em>" if correction.label else ""
        when = f'<time title="{moment(correction.time)}">{correction.time[:10]}</time>'
        return f"{text(correction.person)} {VERBS[correction.action]}{label} · {when}"

    *before, last = map(sentence, stored.corrections)
    if not before:
        return f'<p class="history checked">{last}</p>'
    rest = "".join(f"<li>{line}</li>" for line in reversed(before))
    return f'<details class="history checked"><summary>{last}</summary><ul>{rest}</ul></details>'


def moment(time: str) -> str:
    """An ISO 8601 time of the store, to the minute."""
    return f"{time[:10]} {time[11:16]} UTC"


def link(title: str, url: str) -> str:
    """The title, linked where the address is one of the web: others, such as javascript:, are dropped."""
    if not WEB.match(url):
        return text(title)
    return f'<a href="{text(url)}" target="_blank" rel="noopener noreferrer">{text(title)}</a>'


def links(files: Mapping[Path, int]) -> str:
    """A list of files to download, and of how many sounds each is."""
    items = (
        f'<li><a href="{address(path)}" download>{text(path.name)}</a>, {count} sound{"s" * (count > 1)}</li>'
        for path, count in files.items()
    )
    return f'<ul class="files">{"".join(items)}</ul>'


def address(path: Path) -> str:
    """Where the page serves a file; relative, for the page may stand behind a proxy."""
    return text("gradio_api/file=" + quote(path.as_posix()))
