"""The newest sounds of an RSS or Atom feed, such as a podcast: the audio files that its entries enclose."""

import calendar
import contextlib
import io
import mimetypes
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin, urlsplit

from scripts.apps.tagger.sources.contract import LONGEST_ADDRESS, TRIES, Offer, SourceError, digest, plain
from scripts.apps.tagger.sources.web import Web, redacted
from scripts.audio.decoding import SUFFIXES
from scripts.common.cli import require


class Feed:
    """A feed's enclosures whose type or suffix is that of audio; the newest by the date of their entry."""

    name, tries = "rss", TRIES

    def __init__(self, web: Web, url: str) -> None:
        """Nothing is asked yet; a ConfigError if the package feedparser is missing."""
        require("feedparser", what="--source rss")
        self.web, self.url, self.place = web, url, f"{self.name}-{digest(url)}"

    def newest(self, count: int) -> list[Offer]:
        """As `Source.newest`; entries without a date count as new, in the order of the feed."""
        import feedparser

        content, address = self.web.read(self.url)
        feed = feedparser.parse(io.BytesIO(content), resolve_relative_uris=False)
        if not feed.get("version"):
            raise SourceError(f"{redacted(self.url)}: not an RSS or Atom feed; check the address", "not a feed")
        now = datetime.now(UTC)
        offers = {offer.key: offer for entry in feed.entries for offer in self.offers(entry, feed.feed, address, now)}
        return sorted(offers.values(), key=lambda offer: offer.created, reverse=True)[:count]

    def offers(self, entry: dict[str, Any], feed: dict[str, Any], address: str, now: datetime) -> Iterator[Offer]:
        """The audio of one entry, most often one file; `address` is that of the feed, after redirects."""
        for number, enclosure in enumerate(entry.get("enclosures", [])):
            location, suffix = find_audio(address, enclosure)
            if suffix:
                yield Offer(
                    key=f"{self.name}-{digest(self.url, entry.get('id', location), str(number))}",
                    title=plain(entry.get("title")),
                    url=plain(entry.get("link"), LONGEST_ADDRESS),
                    creator=plain(entry.get("author") or feed.get("author")),
                    licence=plain(entry.get("license") or entry.get("rights") or feed.get("rights")),
                    created=(published(entry) or now).isoformat(),
                    location=location,
                    suffix=suffix,
                )

    def fetch(self, offer: Offer, path: Path) -> None:
        """As `Source.fetch`."""
        self.web.download(offer.location, path)

    def where(self, offer: Offer) -> str:
        """As `Source.where`: the address of the audio."""
        return redacted(offer.location)


def find_audio(feed: str, enclosure: dict[str, str]) -> tuple[str, str]:
    """Address and suffix of an enclosure, the suffix by the address, else by the media type.

    The suffix is empty if it is no audio or the address is none, or that of the feed.
    """
    try:
        location = plain(urljoin(feed, enclosure.get("href", "")), LONGEST_ADDRESS)
        if location == feed:
            return "", ""
        suffix = PurePosixPath(urlsplit(location).path).suffix.lower()
    except ValueError:
        return "", ""
    kind = enclosure.get("type", "")
    if suffix not in SUFFIXES:
        suffix = (mimetypes.guess_extension(kind) or ".audio") if kind.startswith("audio/") else ""
    return location, suffix


def published(entry: dict[str, Any]) -> datetime | None:
    """The date of an entry, or of its last change, in UTC."""
    parsed = entry.get("published_parsed") or entry.get("updated_parsed")
    with contextlib.suppress(ValueError, OverflowError):
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC) if parsed else None
    return None
