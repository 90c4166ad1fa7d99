"""The newest sounds of Freesound, by APIv2 (https://freesound.org/docs/api/).

Only the search asks for the token, and it stands in the Authorization header alone. What is downloaded are the public
previews, Ogg Vorbis of about 192 kbit/s; originals would need OAuth2.
"""

import json
import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
from requests.auth import AuthBase

from scripts.apps.tagger.sources.contract import LONGEST_ADDRESS, TRIES, Offer, SourceError, plain
from scripts.apps.tagger.sources.web import Web
from scripts.common.errors import ConfigError

ADDRESS = "https://freesound.org/apiv2/search/"
VARIABLE = "FREESOUND_TOKEN"
APPLY = "https://freesound.org/apiv2/apply"
LARGEST_PAGE = 150  # sounds
PAGE_PAUSE = 1.0  # seconds between two pages: Freesound allows 60 requests a minute and 2,000 a day
FIELDS = "id,name,username,license,created,url,previews"
PREVIEW, SUFFIX = "preview-hq-ogg", ".ogg"


class TokenAuth(AuthBase):
    """Adds the token as Freesound wants it."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Token {self.token}"
        return request


class Freesound:
    """Sounds whose length is in a range, of any kind."""

    name = place = "freesound"
    tries = TRIES

    def __init__(self, web: Web, token: str, shortest: float, longest: float) -> None:
        """Nothing is asked yet; `shortest` and `longest` in seconds."""
        self.web, self.auth = web, TokenAuth(token)
        self.filter = f"duration:[{shortest:g} TO {longest:g}]"

    def newest(self, count: int) -> list[Offer]:
        """As `Source.newest`, from as many pages as it takes; a sound that moved to the next page is there once."""
        settings = {"query": "", "filter": self.filter, "sort": "created_desc", "fields": FIELDS}
        offers, query = self.page(urlencode(settings | {"page_size": min(count, LARGEST_PAGE)}))
        while query and len(offers) < count:
            self.web.wait(PAGE_PAUSE)
            more, query = self.page(query)
            if more.keys() <= offers.keys():
                break
            offers = offers | more
        return [*offers.values()][:count]

    def page(self, query: str) -> tuple[dict[str, Offer], str]:
        """The offers of a page by key, and the query of the next one, empty if there is none.

        Of the link to the next page only the query is used, so the token goes to Freesound and nowhere else.
        """
        try:
            answer = json.loads(self.web.read(f"{ADDRESS}?{query}", self.auth)[0])
            offers = [read_offer(item) for item in answer["results"] if item is not None]  # None: deleted meanwhile
            return {offer.key: offer for offer in offers}, urlsplit(answer["next"] or "").query
        except (ValueError, KeyError, TypeError, AttributeError):
            message = f"{ADDRESS}: answers something else than a list of sounds; try again later"
            raise SourceError(message, "not a list of sounds") from None
        except SourceError as error:
            if error.reason not in ("HTTP 401", "HTTP 403"):
                raise
            message = f"Freesound does not accept the token in {VARIABLE} ({error.reason}); get one at {APPLY}"
            raise SourceError(message, error.reason) from None

    def fetch(self, offer: Offer, path: Path) -> None:
        """As `Source.fetch`."""
        self.web.download(offer.location, path)

    def where(self, offer: Offer) -> str:
        """As `Source.where`: the sound's page."""
        return offer.url


def read_offer(item: dict[str, Any]) -> Offer:
    """One sound of a page; raises a ValueError, KeyError or TypeError if it is none."""
    return Offer(
        key=f"freesound-{int(item['id'])}",
        title=plain(item["name"]),
        url=plain(item["url"], LONGEST_ADDRESS),
        creator=plain(item["username"]),
        licence=plain(item["license"]),
        created=datetime.fromisoformat(item["created"]).isoformat(),
        location=plain(item["previews"][PREVIEW], LONGEST_ADDRESS),
        suffix=SUFFIX,
    )


def read_token() -> str:
    """The token in the environment variable FREESOUND_TOKEN; a ConfigError says how to get one."""
    token = os.environ.get(VARIABLE, "").strip()
    if not re.fullmatch(r"[!-~]+", token):
        fault = "holds no token, but other characters" if token else "is not set"
        raise ConfigError(f"the environment variable {VARIABLE} {fault}; get a token at {APPLY} and put it there")
    return token
