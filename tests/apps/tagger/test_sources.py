"""Freesound, folders and feeds as sources: what they offer, what they hand out, and what they bear."""

import dataclasses
import importlib.util
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from scripts.apps.store import KEY
from scripts.apps.tagger.sources import freesound, web
from scripts.apps.tagger.sources.addresses import is_public
from scripts.apps.tagger.sources.contract import TRIES, Offer, SourceError, plain
from scripts.apps.tagger.sources.folder import Folder
from scripts.apps.tagger.sources.freesound import VARIABLE, Freesound, read_token
from scripts.apps.tagger.sources.rss import Feed
from scripts.apps.tagger.sources.web import Web
from scripts.apps.tagger.worklist import WorkList
from scripts.common.errors import ConfigError
from tests.freesound_server import (
    SEARCH,
    TOKEN,
    FreesoundServer,
    body,
    endless,
    huge,
    preview,
    redirect,
    silent,
    status,
    truncated,
)

AUDIO = bytes(range(256)) * 40
MIB = 2**20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FreesoundServer]:
    """Seven sounds, whose days are not in the order of their ids."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with FreesoundServer() as server:
        for number, day in zip((9, 10, 100, 7, 8, 70, 80), (3, 5, 4, 7, 1, 2, 6), strict=True):
            server.add(number, AUDIO, day)
        monkeypatch.setattr(freesound, "ADDRESS", server.url + SEARCH)
        yield server


class Waits(list):
    """Notes the seconds instead of waiting."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def local_web(largest: int = MIB, waits: Waits | None = None, **limits: float) -> Web:
    """That may fetch from the servers of these tests, and waits for nothing."""
    return Web(largest, Waits() if waits is None else waits, allow_private=True, **limits)


def make_source(waits: Waits | None = None, token: str = TOKEN, largest: int = MIB, **limits: float) -> Freesound:
    return Freesound(local_web(largest, waits, **limits), token, 0.5, 30.0)


def ids(offers: list[Offer]) -> list[int]:
    return [int(offer.key.removeprefix("freesound-")) for offer in offers]


def searches(server: FreesoundServer) -> list[dict[str, list[str]]]:
    targets = [urlsplit(target) for target, _ in server.requests]
    return [parse_qs(target.query, keep_blank_values=True) for target in targets if target.path == SEARCH]


# --- Freesound: the search ------------------------------------------------------------------------------------


def test_search_asks_for_what_the_documentation_names(server: FreesoundServer) -> None:
    make_source().newest(4)
    assert searches(server) == [
        {
            "query": [""],
            "filter": ["duration:[0.5 TO 30]"],
            "sort": ["created_desc"],
            "fields": ["id,name,username,license,created,url,previews"],
            "page_size": ["4"],
        }
    ]


def test_offer_has_all_facts(server: FreesoundServer) -> None:
    [offer] = make_source().newest(1)
    assert dataclasses.asdict(offer) == {
        "key": "freesound-7",
        "title": "sound 7.wav",
        "url": "https://freesound.org/people/user7/sounds/7/",
        "creator": "user7",
        "licence": "http://creativecommons.org/publicdomain/zero/1.0/",
        "created": "2024-05-07T10:00:00",
        "location": server.url + preview(7),
        "suffix": ".ogg",
    }


def test_pages_are_followed_a_second_apart(server: FreesoundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """And none is asked for that is not needed."""
    monkeypatch.setattr(freesound, "LARGEST_PAGE", 3)
    waits = Waits()
    assert ids(make_source(waits).newest(7)) == [7, 80, 10, 100, 9, 70, 8]
    assert [query.get("page") for query in searches(server)] == [None, ["2"], ["3"]]
    assert waits == [1.0, 1.0]
    server.requests.clear()
    assert ids(make_source().newest(5)) == [7, 80, 10, 100, 9]
    assert len(searches(server)) == 2


def test_fewer_than_asked_for(server: FreesoundServer) -> None:
    assert len(make_source().newest(50)) == 7
    server.sounds.clear()
    assert make_source().newest(50) == []


def test_only_lengths_in_the_range(server: FreesoundServer) -> None:
    server.sounds[7]["duration"], server.sounds[80]["duration"] = 31.0, 0.4
    assert ids(make_source().newest(2)) == [10, 100]


def test_deleted_sounds_and_those_that_moved_to_the_next_page(server: FreesoundServer) -> None:
    facts = {number: sound | {} for number, sound in server.sounds.items()}
    more = f"{server.url}{SEARCH}?page=2"
    first = {"count": 3, "next": more, "results": [facts[7], None, facts[80]]}
    second = {"count": 3, "next": more, "results": [facts[80], facts[10]]}
    again = {"count": 3, "next": more, "results": [facts[80], facts[10]]}
    server.fail(SEARCH, *(body(json.dumps(page).encode()) for page in (first, second, again)))
    assert ids(make_source().newest(9)) == [7, 80, 10]
    assert server.asked(SEARCH) == 3  # a page without a new sound ends it


NOT_A_LIST = [
    b"<html>Maintenance</html>",
    b"[]",
    b'{"count": 1}',
    b'{"results": [{"id": 5}], "next": null}',
    b'{"results": ["x"], "next": null}',
    b'{"results": [], "next": 5}',
    b"\xff",
]


@pytest.mark.parametrize("content", NOT_A_LIST)
def test_an_answer_that_is_no_list_of_sounds(server: FreesoundServer, content: bytes) -> None:
    server.fail(SEARCH, body(content))
    with pytest.raises(SourceError, match="something else than a list of sounds"):
        make_source().newest(5)


# --- Freesound: the token -------------------------------------------------------------------------------------


def test_token_stands_in_the_header_of_searches_alone(
    server: FreesoundServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(freesound, "LARGEST_PAGE", 3)
    source = make_source()
    with caplog.at_level("DEBUG"):
        for offer in source.newest(5):
            source.fetch(offer, tmp_path / offer.key)
    assert {header for target, header in server.requests if target.startswith(SEARCH)} == {f"Token {TOKEN}"}
    assert {header for target, header in server.requests if target.startswith("/previews")} == {None}
    assert not any(TOKEN in target for target, _ in server.requests)
    assert "previews" in caplog.text and TOKEN not in caplog.text


def test_redirect_to_another_host_goes_without_the_token(server: FreesoundServer) -> None:
    with FreesoundServer() as other:
        server.fail(SEARCH, redirect(f"{other.url}{SEARCH}?sort=created_desc&filter=duration:[0+TO+9]"))
        with pytest.raises(SourceError, match="does not accept the token"):
            make_source().newest(1)
        assert [header for _, header in other.requests] == [None]


def test_link_to_a_next_page_elsewhere_is_not_followed_there(server: FreesoundServer) -> None:
    with FreesoundServer() as other:
        page = {"count": 9, "next": f"{other.url}/steal?page=2", "results": [server.sounds[7]]}
        server.fail(SEARCH, body(json.dumps(page).encode()), body(b'{"results": [], "next": null}'))
        assert ids(make_source().newest(9)) == [7]
        assert other.requests == []
    assert server.requests[1] == (f"{SEARCH}?page=2", f"Token {TOKEN}")


def test_wrong_token_is_not_tried_twice_and_not_told(server: FreesoundServer) -> None:
    with pytest.raises(SourceError, match=f"does not accept the token in {VARIABLE} .HTTP 401.") as caught:
        make_source(token="wr0ng").newest(5)
    assert "wr0ng" not in str(caught.value) and freesound.APPLY in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(("value", "fault"), [(None, "is not set"), ("  ", "is not set"), ("a\nb", "other characters")])
def test_missing_or_odd_token(monkeypatch: pytest.MonkeyPatch, value: str | None, fault: str) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ConfigError, match=fault) as caught:
        read_token()
    assert freesound.APPLY in str(caught.value) and "a\nb" not in str(caught.value)
    monkeypatch.setenv(VARIABLE, f" {TOKEN}\n")
    assert read_token() == TOKEN


# --- patience and limits --------------------------------------------------------------------------------------

PASSING = [
    ([status(500)], [1.0]),
    ([status(500), status(503), status(502)], [1.0, 2.0, 4.0]),
    ([status(429, Retry_After="7")], [7.0]),
    ([status(500), status(503, Retry_After="1")], [1.0, 2.0]),  # asks for less than the next wait
    ([status(429)], [60.0]),  # Freesound's own does not say how long; it counts by the minute
    ([status(429, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT")], [1.0]),
    ([truncated], [1.0]),
]


@pytest.mark.parametrize(("answers", "expected"), PASSING)
def test_what_passes_is_tried_again(server: FreesoundServer, tmp_path: Path, answers: list, expected: list) -> None:
    waits = Waits()
    source = make_source(waits)
    [offer] = source.newest(1)
    server.fail(preview(7), *answers)
    source.fetch(offer, tmp_path / "7.ogg")
    assert (tmp_path / "7.ogg").read_bytes() == AUDIO
    assert waits == expected


FINAL = [
    ([status(404)], "HTTP 404", []),
    ([status(500)] * 4, "HTTP 500", [1.0, 2.0, 4.0]),
    ([status(429, Retry_After="86400")], "HTTP 429", []),
    ([truncated] * 4, "no connection, or it broke off", [1.0, 2.0, 4.0]),
    ([huge], "too large", []),
    ([endless], "too large", []),
    ([redirect("/previews/loop")] * 9, "HTTP 404", []),
    ([redirect("file:///etc/passwd")], "not to be had (InvalidSchema)", []),
    ([redirect("http://[")], "not to be had", []),
]


@pytest.mark.parametrize(("answers", "reason", "expected"), FINAL)
def test_what_does_not_pass_leaves_nothing(
    server: FreesoundServer, tmp_path: Path, answers: list, reason: str, expected: list
) -> None:
    waits = Waits()
    source = make_source(waits)
    [offer] = source.newest(1)
    server.fail(preview(7), *answers)
    with pytest.raises(SourceError) as caught:
        source.fetch(offer, tmp_path / "7.ogg")
    assert caught.value.reason.startswith(reason)
    assert waits == expected
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_never_answers(server: FreesoundServer, tmp_path: Path) -> None:
    source = make_source(timeout=0.05)
    [offer] = source.newest(1)
    server.fail(preview(7), *[silent] * 4)
    with pytest.raises(SourceError, match="no answer in time"):
        source.fetch(offer, tmp_path / "7.ogg")
    assert server.asked(preview(7)) == 4


def test_an_answer_that_trickles_in_for_too_long(server: FreesoundServer, tmp_path: Path) -> None:
    server.fail("/x", endless)
    with pytest.raises(SourceError, match="not there after 0 s"):
        local_web(2**40, deadline=0.0).download(f"{server.url}/x", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_endless_redirects(server: FreesoundServer) -> None:
    server.fail("/loop", *[redirect("/loop")] * 9)
    with pytest.raises(SourceError, match="TooManyRedirects"):
        local_web().read(f"{server.url}/loop")
    assert server.asked("/loop") == web.MAX_REDIRECTS + 1


def test_no_server_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    with FreesoundServer() as closed:
        monkeypatch.setattr(freesound, "ADDRESS", closed.url + SEARCH)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    waits = Waits()
    with pytest.raises(SourceError, match="check the network"):
        make_source(waits).newest(1)
    assert waits == [1.0, 2.0, 4.0]


ODD = [
    *("", "None", "x", "http://", "http://[", "http://a b", "http://127.0.0.1:99999/", "http://\ud800/"),
    *("file:///etc/passwd", "ftp://127.0.0.1/x", "data:audio/wav;base64,AAAA", "http://.example/"),
    "http://" + "a" * 70 + "/",
]


@pytest.mark.parametrize("address", ODD)
def test_odd_addresses_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(SourceError):
        local_web().download(plain(address, 2000), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_errors_show_no_password_and_no_query(server: FreesoundServer) -> None:
    secret = server.url.replace("http://", "http://me:pass@") + "/private.xml?key=abc"
    with pytest.raises(SourceError, match="/private.xml: the server answers HTTP 404") as caught:
        local_web().read(secret)
    assert "pass" not in str(caught.value) and "abc" not in str(caught.value)


def test_disk_full_is_not_the_servers_fault(
    server: FreesoundServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, chunks: Iterator[bytes]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(web, "write", full)
    source = make_source()
    with pytest.raises(OSError, match="No space left"):
        source.fetch(source.newest(1)[0], tmp_path / "7.ogg")
    assert server.asked(preview(7)) == 1


# --- addresses ------------------------------------------------------------------------------------------------

PRIVATE = (
    "127.0.0.1 127.9.9.9 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 224.0.0.1 239.255.255.255 "
    "240.0.0.1 255.255.255.255 198.18.0.1 192.0.2.1 :: ::1 fe80::1 fc00::1 fd12::1 fec0::1 ff02::1 ::ffff:127.0.0.1 "
    "::ffff:10.0.0.1 2002:7f00:1:: ::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 2001:db8::1 fe80::1%lo"
)
PUBLIC = ["8.8.8.8", "151.101.1.69", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]


def test_which_addresses_are_public() -> None:
    assert [address for address in PRIVATE.split() if is_public(address)] == []
    assert [address for address in PUBLIC if not is_public(address)] == []


FORMS = "127.0.0.1 2130706433 0x7f000001 0177.0.0.1 127.1 0 localhost [::1] [::ffff:127.0.0.1]"


@pytest.mark.parametrize("host", FORMS.split())
def test_private_addresses_are_not_fetched(server: FreesoundServer, tmp_path: Path, host: str) -> None:
    """In any of the forms that the system reads; not a byte is asked for."""
    port = server.server_address[1]
    with pytest.raises(SourceError, match="is not a public address; allow it .--allow-private.") as caught:
        Web(MIB, Waits()).download(f"http://{host}:{port}{preview(7)}", tmp_path / "x")
    assert caught.value.reason == "not a public address" and caught.value.pause is None
    assert server.requests == [] and list(tmp_path.iterdir()) == []


class Names(dict):
    """Answers of the DNS: a name's addresses, those of each time it is asked; addresses are themselves."""

    def __call__(self, host: str, port: int, *_: object, **__: object) -> list[tuple]:
        if host in self:
            found = self[host].pop(0)
        elif host[0].isdigit() or ":" in host:
            found = [host]
        else:
            raise socket.gaierror(-2, "Name or service not known")
        kinds = {True: socket.AF_INET6, False: socket.AF_INET}
        return [(kinds[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in found]


@pytest.fixture
def internet(server: FreesoundServer, monkeypatch: pytest.MonkeyPatch) -> tuple[Names, list[str]]:
    """Names, and the public addresses that are connected to, behind all of which is the server of the tests."""
    names, connected, connect = Names(), [], socket.socket.connect

    def connect_here(sock: socket.socket, address: tuple) -> None:
        connected.append(address[0])
        connect(sock, server.server_address)

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(socket, "getaddrinfo", names)
    monkeypatch.setattr(socket.socket, "connect", connect_here)
    return names, connected


def test_public_addresses_are_fetched(server: FreesoundServer, tmp_path: Path, internet: tuple) -> None:
    names, connected = internet
    names["pod.example"] = [["93.184.215.14"]]
    Web(MIB, Waits()).download(f"http://pod.example{preview(7)}", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == AUDIO and connected == ["93.184.215.14"]
    names["pod.example"] = [["93.184.215.14", "10.0.0.1"]]
    with pytest.raises(SourceError, match="pod.example is at 10.0.0.1"):
        Web(MIB, Waits()).download(f"http://pod.example{preview(7)}", tmp_path / "y")


@pytest.mark.parametrize("target", ["http://127.0.0.1:1/x", "http://inside.example/x", "https://inside.example/x"])
def test_redirects_to_private_addresses_are_not_followed(
    server: FreesoundServer, tmp_path: Path, internet: tuple, target: str
) -> None:
    names, connected = internet
    names |= {"pod.example": [["93.184.215.14"]], "inside.example": [["169.254.169.254"]]}
    server.fail("/go", redirect(target))
    with pytest.raises(SourceError, match="not a public address"):
        Web(MIB, Waits()).download("http://pod.example/go", tmp_path / "x")
    assert connected == ["93.184.215.14"] and list(tmp_path.iterdir()) == []


def test_a_name_that_changes_its_address_in_between(server: FreesoundServer, tmp_path: Path, internet: tuple) -> None:
    """The address that was checked is the one that is connected to; the name is asked once for each connection."""
    names, connected = internet
    names["pod.example"] = [["93.184.215.14"], ["127.0.0.1"]]
    server.fail("/x", truncated)
    with pytest.raises(SourceError, match="is at 127.0.0.1"):
        Web(MIB, Waits()).download("http://pod.example/x", tmp_path / "x")
    assert connected == ["93.184.215.14"]


def test_enclosures_at_private_addresses(server: FreesoundServer, tmp_path: Path, internet: tuple) -> None:
    names, connected = internet
    names["pod.example"] = [["93.184.215.14"]]
    feed = (
        b"<rss version='2.0'><channel><item><guid>1</guid><enclosure url='http://localhost/a.mp3' type='audio/mpeg'/>"
    )
    server.fail("/feed", body(feed + b"</item></channel></rss>"))
    names["localhost"] = [["127.0.0.1"]]
    source = Feed(Web(MIB, Waits()), "http://pod.example/feed")
    [offer] = source.newest(9)
    with pytest.raises(SourceError, match="localhost is at 127.0.0.1"):
        source.fetch(offer, tmp_path / "x")
    assert connected == ["93.184.215.14"]


def test_behind_a_proxy(monkeypatch: pytest.MonkeyPatch, internet: tuple, server: FreesoundServer) -> None:
    """The proxy connects; private addresses that can be found out here are not asked for."""
    names, connected = internet
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", "http://10.0.0.9:3128")
    names["inside.example"] = [["10.0.0.1"]]
    for host in ("127.0.0.1", "inside.example"):
        with pytest.raises(SourceError, match="not a public address"):
            Web(MIB, Waits()).read(f"http://{host}/x")
    assert connected == []
    with pytest.raises(SourceError, match="HTTP 404"):
        Web(MIB, Waits()).read("http://only-the-proxy-knows.example/x")
    assert connected == ["10.0.0.9"]


# --- a folder -------------------------------------------------------------------------------------------------


def put(path: Path, content: bytes, time: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (time, time))
    return path


def test_folder_offers_its_newest_audio(tmp_path: Path) -> None:
    put(tmp_path / "old.wav", b"old", 1_000)
    put(tmp_path / "deep" / "er" / "New One.MP3", b"new", 3_000)
    put(tmp_path / "middle.flac", b"middle", 2_000)
    put(tmp_path / "notes.txt", b"no audio", 9_000)
    put(tmp_path / "._junk.wav", b"hidden", 9_000)
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    offers = Folder(tmp_path, MIB).newest(2)
    assert [(offer.title, offer.suffix) for offer in offers] == [("New One", ".mp3"), ("middle", ".flac")]
    assert offers[0].created == "1970-01-01T00:50:00+00:00"
    assert len(Folder(tmp_path, MIB).newest(9)) == 3


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", b"one", 1_000)
    [before] = Folder(tmp_path, MIB).newest(9)
    (tmp_path / "a.wav").rename(tmp_path / "b.wav")
    put(tmp_path / "copy.wav", b"one", 5_000)
    [after] = Folder(tmp_path, MIB).newest(9)
    assert after.key == before.key and after.title == "copy"
    put(tmp_path / "b.wav", b"two", 6_000)
    assert [offer.key == before.key for offer in Folder(tmp_path, MIB).newest(9)] == [False, True]


def test_folder_hands_out_a_copy(tmp_path: Path) -> None:
    own = put(tmp_path / "in" / "a.wav", b"one", 1_000)
    source = Folder(tmp_path / "in", MIB)
    source.fetch(source.newest(1)[0], tmp_path / "out.wav")
    (tmp_path / "out.wav").unlink()
    assert own.read_bytes() == b"one"


def test_files_that_a_folder_does_not_hand_out(tmp_path: Path) -> None:
    place = put(tmp_path / "in" / "a.wav", b"one", 1_000)
    [offer] = Folder(tmp_path / "in", MIB).newest(1)
    out = tmp_path / "out.wav"
    put(place, b"half of a longer", 2_000)
    with pytest.raises(SourceError, match="changed since it was listed"):
        Folder(tmp_path / "in", MIB).fetch(offer, out)
    with pytest.raises(SourceError, match="larger than"):
        Folder(tmp_path / "in", 5).fetch(offer, out)
    place.unlink()
    with pytest.raises(SourceError, match="gone, or no permission"):
        Folder(tmp_path / "in", MIB).fetch(offer, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    with pytest.raises(ConfigError, match="not a folder; give the one with the audio files"):
        Folder(tmp_path / "none", MIB)


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"in \xff")
    put(root / os.fsdecode(b"a \xfe.wav"), b"one", 1_000)
    source = Folder(root, MIB)
    [offer] = source.newest(9)
    source.fetch(offer, tmp_path / "out.wav")
    assert (tmp_path / "out.wav").read_bytes() == b"one" and source.place.isascii() and offer.title == "a ?"


# --- a feed ---------------------------------------------------------------------------------------------------

RSS = b"""<?xml version="1.0"?><rss version="2.0"><channel><title>T</title><copyright>CC BY 4.0</copyright>
<item><title>Older &lt;b&gt;x&lt;/b&gt;</title><guid isPermaLink="false">a1</guid><link>https://x.org/1</link>
  <pubDate>Wed, 01 May 2024 14:00:00 +0200</pubDate><author>me@x.org (Me)</author>
  <enclosure url="files/one.mp3?token=1" type="audio/mpeg" length="12"/></item>
<item><title>Newer</title><guid>a2</guid><pubDate>Thu, 02 May 2024 00:00:00 GMT</pubDate>
  <enclosure url="/two" type="audio/flac"/><enclosure url="/cover.png" type="image/png"/></item>
<item><title>Undated</title><enclosure url="/three.ogg" type="application/octet-stream"/></item>
<item><title>Broken</title><guid>a4</guid><enclosure url="http://[/four.mp3" type="audio/mpeg"/></item>
<item><title>Text alone</title><guid>a5</guid></item></channel></rss>"""
ATOM = b"""<?xml version="1.0" encoding="utf-8"?><feed xmlns="http://www.w3.org/2005/Atom"><title>T</title>
<author><name>All</name></author>
<entry><id>urn:1</id><title>A</title><updated>2024-05-01T12:00:00+02:00</updated><rights>CC0</rights>
  <link rel="alternate" href="https://x.org/a"/><link rel="enclosure" href="a.wav" type="audio/x-wav"/></entry>
<entry><id>urn:2</id><title>B</title><updated>2024-05-01T11:00:00Z</updated>
  <link rel="enclosure" href="b1.mp3"/><link rel="enclosure" href="b2.mp3"/></entry></feed>"""


def make_feed(server: FreesoundServer, content: bytes, times: int = 1) -> Feed:
    server.fail("/feeds/main.xml", *[body(content)] * times)
    return Feed(local_web(), f"{server.url}/feeds/main.xml")


def test_rss(server: FreesoundServer) -> None:
    before = datetime.now(UTC)
    undated, newer, older = make_feed(server, RSS).newest(9)
    assert [offer.title for offer in (undated, newer, older)] == ["Undated", "Newer", "Older <b>x</b>"]
    assert [offer.suffix for offer in (undated, newer, older)] == [".ogg", ".flac", ".mp3"]
    assert (older.location, older.url) == (f"{server.url}/feeds/files/one.mp3?token=1", "https://x.org/1")
    assert (older.creator, older.licence) == ("me@x.org (Me)", "CC BY 4.0")
    assert older.created == "2024-05-01T12:00:00+00:00"
    assert before <= datetime.fromisoformat(undated.created) <= datetime.now(UTC)


def test_relative_addresses_are_those_of_where_the_feed_lies(server: FreesoundServer) -> None:
    """After redirects; an enclosure without an address is none."""
    server.fail("/feeds/old.xml", redirect("/pod/new.xml"))
    server.fail("/pod/new.xml", body(RSS.replace(b'"/two"', b'" "')))
    offers = Feed(local_web(), f"{server.url}/feeds/old.xml").newest(9)
    assert [offer.location for offer in offers] == [
        f"{server.url}/three.ogg",
        f"{server.url}/pod/files/one.mp3?token=1",
    ]


def test_a_feed_without_end(server: FreesoundServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.apps.tagger.sources.web.LONGEST_LIST", 2**9)
    with pytest.raises(SourceError, match="main.xml: a list of more than 0.000488281 MiB; give a shorter one"):
        make_feed(server, RSS).newest(9)


def test_atom(server: FreesoundServer) -> None:
    first, second, last = make_feed(server, ATOM).newest(9)
    assert {first.location, second.location} == {f"{server.url}/feeds/b1.mp3", f"{server.url}/feeds/b2.mp3"}
    assert (last.title, last.url, last.creator, last.licence) == ("A", "https://x.org/a", "All", "CC0")
    assert last.created == "2024-05-01T10:00:00+00:00"


def test_entries_keep_their_keys(server: FreesoundServer) -> None:
    moved = RSS.replace(b"files/one.mp3?token=1", b"files/one.mp3?token=2")
    first, second = make_feed(server, RSS).newest(9), make_feed(server, moved).newest(9)
    assert [offer.key for offer in first] == [offer.key for offer in second]
    server.fail("/other.xml", body(RSS))
    other = Feed(local_web(), f"{server.url}/other.xml").newest(9)
    assert not {offer.key for offer in first} & {offer.key for offer in other}


@pytest.mark.parametrize("content", [b"<html><body>Hello</body></html>", b"", b"{}", b"\xff\x00"])
def test_what_is_no_feed(server: FreesoundServer, content: bytes) -> None:
    with pytest.raises(SourceError, match="main.xml: not an RSS or Atom feed"):
        make_feed(server, content).newest(3)


def test_feeds_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="package feedparser; install it: pip install feedparser"):
        Feed(Web(MIB), "https://x.org/feed")


# --- the contract of all --------------------------------------------------------------------------------------


@pytest.fixture(params=["freesound", "folder", "rss"])
def source(request: pytest.FixtureRequest, server: FreesoundServer, tmp_path: Path) -> Freesound | Folder | Feed:
    if request.param == "freesound":
        return make_source()
    if request.param == "rss":
        for name in ("/feeds/b1.mp3", "/feeds/b2.mp3", "/feeds/a.wav"):
            server.fail(name, body(AUDIO))
        return make_feed(server, ATOM, times=3)
    for number in range(3):
        put(tmp_path / "in" / f"{number}.wav", AUDIO + bytes([number]), 1_000 + number)
    return Folder(tmp_path / "in", MIB)


def test_contract(source: Freesound | Folder | Feed, tmp_path: Path) -> None:
    offers = source.newest(3)
    assert len({offer.key for offer in offers}) == 3
    assert source.newest(3) == offers and source.newest(1) == offers[:1]
    times = [datetime.fromisoformat(offer.created) for offer in offers]
    assert times == sorted(times, reverse=True)
    for offer in offers:
        assert KEY.fullmatch(offer.key) and offer.key.startswith(f"{source.name}-")
        source.fetch(offer, tmp_path / f"{offer.key}{offer.suffix}")
        assert (tmp_path / f"{offer.key}{offer.suffix}").read_bytes()[: len(AUDIO)] == AUDIO
        assert source.where(offer) and str(tmp_path / offer.key) not in source.where(offer)
    assert KEY.fullmatch(f"{source.place}-x") and source.tries >= 1


# --- what is still to be done ---------------------------------------------------------------------------------


def make_offer(number: int) -> Offer:
    return Offer(f"x-{number}", f"title \ud800 {number}", "", "", "", "2024-05-01", f"/a/{number}", ".wav")


def keys(offers: list[Offer]) -> list[str]:
    return [offer.key for offer in offers]


def test_what_failed_is_planned_again_though_newer_ones_came(tmp_path: Path) -> None:
    path, one, two, three = tmp_path / "todo.json", make_offer(1), make_offer(2), make_offer(3)
    assert WorkList(path).plan([two, one], {"x-2"}.__contains__) == [one]
    assert WorkList(path).plan([three], {"x-2"}.__contains__) == [three, one]
    assert WorkList(path).plan([three], {"x-1", "x-2", "x-3"}.__contains__) == []
    assert WorkList(path).plan([three], {"x-1", "x-2", "x-3"}.__contains__) == []


def test_a_sound_is_given_up_after_five_failures_unless_it_is_among_the_newest(tmp_path: Path) -> None:
    """Rounds that ended before they came to it do not count."""
    path, old, new = tmp_path / "todo.json", make_offer(1), make_offer(2)
    for offer in [old] + [new] * TRIES:
        assert old in WorkList(path).plan([offer], lambda key: False)
    rounds = []
    for _ in range(TRIES + 2):
        work = WorkList(path)
        rounds.append(keys(work.plan([new], lambda key: False)))
        assert not any(work.fail(row.offer, "") for row in [*work.rows.values()])
    assert rounds == [*[["x-2", "x-1"]] * TRIES, ["x-2"], ["x-2"]]


def test_a_round_that_was_killed_leaves_the_list_of_one_that_was_not(tmp_path: Path) -> None:
    """Byte for byte: of four sounds, of which two fail, the first alone or two were done before."""
    offers, stored = [make_offer(number) for number in range(4)], set()
    lists = []
    for done in (0, 1, 2):
        path, stored = tmp_path / str(done), set()
        for count in (done, 4):
            work = WorkList(path, "300 s", 1)
            for offer in work.plan(offers, stored.__contains__)[:count]:
                work.fail(offer, "silent") if offer.key in ("x-0", "x-2") else stored.add(offer.key)
        work.forget(stored.__contains__)
        lists.append(path.read_text())
        assert list(work.rows) == ["x-0", "x-2"]
    assert len(set(lists)) == 1


def test_what_cannot_pass_is_given_up_until_the_settings_change(tmp_path: Path) -> None:
    """In the second round of two tries, with its reason, also among the newest; and forgotten when it is not."""
    path, one, two = tmp_path / "todo.json", make_offer(1), make_offer(2)
    told = []
    for _ in range(2):
        work = WorkList(path, "300 s", 2)
        assert work.plan([one, two], lambda key: False) == [one, two] and not work.given_up
        told.append(work.fail(one, "silent"))
    assert told == [False, True]
    work = WorkList(path, "300 s", 2)
    assert work.plan([one, two], lambda key: False) == [two] and work.given_up == {"silent": 1}
    assert keys(WorkList(path, "600 s", 2).plan([one, two], lambda key: False)) == ["x-1", "x-2"]
    work = WorkList(path, "300 s", 2)
    assert work.plan([two], lambda key: False) == [two] and not work.given_up


def test_damaged_plan(tmp_path: Path) -> None:
    for content in ("{", "[]]", "[1]", '[{"tries": 1}]', '{"a": 1}', '[{"offer": {"key": "a"}}]'):
        (tmp_path / "todo.json").write_text(content)
        with pytest.raises(SourceError, match="todo.json: damaged; delete it"):
            WorkList(tmp_path / "todo.json")
