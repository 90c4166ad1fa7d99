"""The monitor: what its charts show, what its cards say, and its page in a real browser."""

import socket
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.apps.monitor.__main__ import main
from scripts.apps.monitor.drift import MIN_SOUNDS, PERIOD, agreement, drift, periods
from scripts.apps.monitor.html import describe, history
from scripts.apps.store import Correction, Sound, Store, StoredSound
from tests.sounds import add_sounds, make_sound

pytest.importorskip("gradio", reason="needs the package gradio")
pytest_plugins = ["tests.browser"]

from scripts.apps.monitor.page import short  # noqa: E402


def stored_sound(sound: Sound, tags: list[str], corrections: list[Correction] | None = None) -> StoredSound:
    return StoredSound(sound, Path("a b/sound.wav"), Path("a b/picture.png"), tags, corrections or [])


# --- charts -------------------------------------------------------------------------------------------------


def test_agreement_by_hand() -> None:
    """On the 2nd, three tags of two sounds, two of them kept; on the 5th none given and one added."""
    sounds = [
        stored_sound(make_sound(2, tags=("high", "low")), ["high"]),
        stored_sound(make_sound(2, tags=("mid",), key="test-x"), ["mid", "low"]),
        stored_sound(make_sound(5, tags=()), ["high"]),
    ]
    days = agreement(sounds).set_index("day")
    assert days.index.tolist() == [pd.Timestamp("2026-01-02"), pd.Timestamp("2026-01-05")]
    assert days[["sounds", "given", "kept", "added"]].to_numpy().tolist() == [[2, 3, 2, 1], [1, 0, 0, 1]]
    assert days["agreement"].iloc[0] == pytest.approx(2 / 3) and np.isnan(days["agreement"].iloc[1])


def test_agreement_of_nothing() -> None:
    assert agreement([]).empty


def heard(probabilities: np.ndarray) -> list[StoredSound]:
    """Sounds with probabilities [sounds, labels] of the labels "0", "1", ..."""
    rows = [{str(label): float(value) for label, value in enumerate(row)} for row in probabilities]
    return [stored_sound(make_sound(1, probabilities=row, tags=[]), []) for row in rows]


def test_drift_finds_the_label_that_moved() -> None:
    generator = np.random.default_rng(0)
    first, recent = generator.uniform(size=(2, 100, 5))
    recent[:, 3] = recent[:, 3] ** 3
    table = drift(heard(first), heard(recent))
    assert table["label"][0] == "3" and table["moved"].tolist() == [True, False, False, False, False]
    assert (table["first"][0], table["recent"][0]) == (pytest.approx(0.5, abs=0.1), pytest.approx(0.25, abs=0.1))


def test_drift_seldom_finds_what_did_not_move() -> None:
    """Of 40 pairs of periods out of one distribution, about 2 may have a label that moved."""
    generator = np.random.default_rng(1)
    pairs = generator.beta(1, 9, size=(40, 2, MIN_SOUNDS, 8))
    assert sum(drift(heard(first), heard(recent))["moved"].any() for first, recent in pairs) <= 4


def test_periods_are_of_the_newest_model(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert periods(store) == ([], [])
    add_sounds(store, *(make_sound(day, model="old" if day < 4 else "new") for day in range(1, 9)))
    first, recent = periods(store)
    assert [one.sound.key for one in first] == ["test-4", "test-5"]
    assert [one.sound.key for one in recent] == ["test-8", "test-7"]
    assert PERIOD > MIN_SOUNDS


# --- cards --------------------------------------------------------------------------------------------------


def test_what_strangers_write_is_only_text() -> None:
    bad = "<script>alert(1)</script>{{#each}}${alert(2)}"
    sound = make_sound(1, title=bad, creator=bad, licence='"><b>', url="javascript:alert(3)", model=bad)
    said = [Correction(bad, "add", bad, sound.created), Correction("", "confirm", bad, sound.created)]
    page = describe(stored_sound(sound, [])) + history(stored_sound(sound, [], said))
    assert not [sign for sign in ("<script", "javascript:", '"><b>', "{", "$") if sign in page]
    assert "&lt;script&gt;" in page


def test_a_card_links_and_plays() -> None:
    page = describe(stored_sound(make_sound(1), ["high"]))
    assert 'href="https://example.org/1"' in page
    assert 'src="gradio_api/file=a%20b/sound.wav"' in page and 'src="gradio_api/file=a%20b/picture.png"' in page
    assert page.index("high") < page.index("90%") < page.index("10%")


def test_labels_on_an_axis() -> None:
    """Long ones are cut, and still told apart."""
    assert [short("1e3", 1), short("x" * 18, 2)] == ["1e3", "x" * 18]
    assert short("x" * 60, 3) == "3. " + "x" * 18 + "…"


# --- command ------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with socket.socket() as other, pytest.raises(SystemExit, match="2"):
        other.bind(("127.0.0.1", 0))
        other.listen()
        main(["--store", str(tmp_path), "--port", str(other.getsockname()[1])])
    [line] = capsys.readouterr().err.splitlines()
    assert "is taken" in line and "--port" in line


# --- in a browser -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("monitor") / "sounds")


@pytest.fixture(scope="module")
def address(store: Store, serve) -> str:
    return serve("monitor", "--store", store.folder).address


def card(page, number: int):
    return page.locator(f"#sound-test-{number}")


def tags(page, number: int):
    return card(page, number).locator(".token")


def see_tags(page, number: int, *labels: str) -> None:
    """Wait until the card has these tags."""
    from playwright.sync_api import expect

    expect(tags(page, number)).to_have_text(labels, timeout=60_000)


def ticks(page, number: int) -> int:
    shown = "all => all.filter((one) => getComputedStyle(one, '::before').content.includes('\u2713')).length"
    return card(page, number).locator(".history, .history *").evaluate_all(shown)


def give_name(page, name: str) -> None:
    page.get_by_label("Your name").fill(name)


def add_tag(page, number: int, label: str) -> None:
    field = card(page, number).get_by_role("combobox")
    field.fill(label)
    field.press("Enter")


def test_an_empty_store_and_then_a_sound(store: Store, address: str, open_page) -> None:
    page = open_page(address)
    page.get_by_text("python -m scripts tagger").wait_for()
    add_sounds(store, make_sound(1, tags=("high", "low")))
    page.get_by_role("button", name="Refresh").click()
    see_tags(page, 1, "high", "low")
    assert page.get_by_text("No sounds yet").count() == 0


def test_corrections_are_still_there_after_a_reload(store: Store, address: str, open_page) -> None:
    add_sounds(store, make_sound(2, tags=("high", "low")))
    page = open_page(address)
    give_name(page, "Ana")
    card(page, 2).get_by_role("button", name="remove low").click()
    card(page, 2).get_by_role("status").get_by_text("Ana removed low").wait_for()
    assert page.evaluate("document.activeElement.closest('.card').id") == "sound-test-2"  # the keyboard stays there
    add_tag(page, 2, "mid")
    card(page, 2).get_by_text("Ana added mid").wait_for()
    assert ticks(page, 2) == 1  # once for however many corrections
    page.reload()
    see_tags(page, 2, "high", "mid")
    assert page.get_by_label("Your name").input_value() == "Ana"
    said = [(one.person, one.action, one.label) for one in store.get("test-2").corrections]
    assert said == [("Ana", "remove", "low"), ("Ana", "add", "mid")]


def test_two_people_at_once_lose_nothing(store: Store, address: str, open_page) -> None:
    """Both see the same tags; what one changes after that does not undo what the other changed."""
    add_sounds(store, make_sound(3, tags=("high", "low")))
    one, other = open_page(address), open_page(address)
    for page, name in ((one, "Ana"), (other, "Ben")):
        give_name(page, name)
        card(page, 3).wait_for()
    tags(one, 3).filter(has_text="high").get_by_role("button").click()
    card(one, 3).get_by_text("Ana removed high").wait_for()
    add_tag(other, 3, "mid")
    card(other, 3).get_by_text("Ben added mid").wait_for()
    see_tags(other, 3, "low", "mid")
    assert store.get("test-3").tags == ["low", "mid"]


def test_what_is_not_allowed_is_said_and_not_kept(store: Store, address: str, open_page) -> None:
    add_sounds(store, make_sound(4))
    page = open_page(address)
    tags(page, 4).get_by_role("button").click()
    page.get_by_text("the name is empty").wait_for()
    see_tags(page, 4, "high")
    give_name(page, "Ana")
    add_tag(page, 4, "hihg")
    page.get_by_text("no model knows the tag 'hihg'; choose 'high' from the list").wait_for()
    see_tags(page, 4, "high")
    assert store.get("test-4").corrections == []


NAMES = ("<b>bold</b>", "01", "None", 'Rock "n" Roll; {{a}} & ${b}', "x" * 60)


def test_labels_of_any_text_are_shown_and_written_as_they_are(store: Store, address: str, open_page) -> None:
    add_sounds(
        store, make_sound(1, key="test-21", probabilities=dict.fromkeys(NAMES, 0.5), tags=list(NAMES), model="odd")
    )
    page = open_page(address)
    see_tags(page, 21, *NAMES)
    assert card(page, 21).locator(".scores span").all_inner_texts()[::2] == list(NAMES[:3])
    give_name(page, "Ana")
    for number, name in enumerate(NAMES):
        card(page, 21).get_by_role("button", name=f"remove {name}", exact=True).click()
        see_tags(page, 21, *NAMES[number + 1 :])
        card(page, 21).get_by_text(f"Ana removed {name}").first.wait_for()
    add_tag(page, 21, "01")
    see_tags(page, 21, "01")
    card(page, 21).locator("summary", has_text="Ana added 01").wait_for()
    assert [one.label for one in store.get("test-21").corrections] == [*NAMES, "01"]


def test_free_tags_where_they_are_allowed(store: Store, serve, open_page) -> None:
    add_sounds(store, make_sound(5))
    page = open_page(serve("monitor", "--store", store.folder, "--free-tags").address)
    give_name(page, "Ana")
    add_tag(page, 5, "rain on a roof")
    card(page, 5).get_by_text("Ana added rain on a roof").wait_for()
    assert store.get("test-5").tags == ["high", "rain on a roof"]


def test_confirm_pages_charts_and_export(store: Store, address: str, open_page, serious_findings) -> None:
    add_sounds(store, *(make_sound(day) for day in range(6, 20)))
    page = open_page(address, width=390, height=844, dark=True)
    give_name(page, "Ben")
    card(page, 19).get_by_role("button", name="All right").click()
    card(page, 19).get_by_text("Ben confirmed all").wait_for()
    assert serious_findings(page) == []
    page.get_by_role("button", name="Next").click()
    card(page, 7).wait_for()
    assert card(page, 8).count() == 0
    page.wait_for_function("document.activeElement.textContent.trim() === 'Previous'")  # there is nothing after
    page.get_by_role("tab", name="Charts").click()
    page.get_by_text("the share of the model's tags that people kept").wait_for()
    page.get_by_text(f"at least {MIN_SOUNDS} sounds").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious_findings(page) == []
    page.get_by_role("tab", name="Export").click()
    page.get_by_role("button", name="Write the files").click()
    link = page.locator("a[href*='/overrides.csv']")
    link.wait_for()
    assert serious_findings(page) == []
    with page.expect_download() as download:
        link.click()
    table = pd.read_csv(download.value.path()).set_index("track_id")
    assert table.loc["test-19", "labels"] == "high"


def test_least_sure_first(serve, open_page, tmp_path: Path) -> None:
    """Its order stays while sounds are checked; Refresh takes the checked ones out."""
    store = Store(tmp_path / "sounds")
    for number, margin in enumerate((0.8, 0.1, 0.4), start=1):
        add_sounds(store, make_sound(number, probabilities={"high": 0.5 + margin / 2, "low": 0.5 - margin / 2}))
    page = open_page(serve("monitor", "--store", store.folder).address)
    give_name(page, "Ana")
    order = "all => all.map((one) => one.id)"
    for choice, expected in (
        ("Least sure first", [2, 3, 1]),
        ("Newest first", [3, 2, 1]),
        ("Least sure first", [2, 3, 1]),
    ):
        page.get_by_label(choice).check()
        page.wait_for_function(f"document.querySelector('.card')?.id === 'sound-test-{expected[0]}'")
        assert page.locator(".card").evaluate_all(order) == [f"sound-test-{number}" for number in expected]
    card(page, 2).get_by_role("button", name="All right").click()
    card(page, 2).get_by_text("Ana confirmed all").wait_for()
    page.get_by_role("button", name="Refresh").click()
    page.wait_for_function("document.querySelector('.card')?.id === 'sound-test-3'")
    page.get_by_text("1 to 2 of 2 sounds").wait_for()


def test_by_day_everything_can_be_read(address: str, open_page, serious_findings) -> None:
    page = open_page(address)
    page.locator(".card .token").first.wait_for()
    assert serious_findings(page) == []
