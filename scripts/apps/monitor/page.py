"""The monitor's page, on Gradio."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
import pandas as pd

from scripts.apps.access import Access
from scripts.apps.gradio_settings import launch_settings
from scripts.apps.markup import text
from scripts.apps.monitor.corrections import export
from scripts.apps.monitor.drift import MIN_SOUNDS, agreement, drift, periods
from scripts.apps.monitor.html import CSS, SCRIPT, describe, history, links, title_of
from scripts.apps.store import MAX_CHARACTERS, Store, StoredSound
from scripts.common.errors import ConfigError, ProjectError
from scripts.common.plotting import COLOURS, GREY

PER_PAGE = 12
LEAST_SURE = 10 * PER_PAGE  # sounds in a list of them; Refresh gives the next ones
NEWEST_FIRST, LEAST_SURE_FIRST = ORDERS = ("Newest first", "Least sure first")
AT_ONCE = 4  # people whose changes are written; others wait
EDITABLE: dict[str, Any] = {"multiselect": True, "allow_custom_value": True, "interactive": True, "container": False}
# read when it changes
LIVE: dict[str, Any] = {"apply_default_css": False, "js_on_load": "element.setAttribute('role', 'status')"}
DAYS = 30  # in the charts of agreement
MAX_BARS, SHORT = 20, 18  # labels in the chart of drift; characters of one
TAG_COLOURS = {"kept": COLOURS[0], "removed": COLOURS[1], "added": COLOURS[2]}
DRIFT_COLOURS = {"no": GREY, "yes": COLOURS[1]}
CHART: dict[str, Any] = {"height": 300, "min_width": 300, "x_label_angle": -90}
TITLE, NAME = "Monitor", "Your name"
INTRODUCTION = (
    "The newest sounds and what the model finds in them. Listen, take off the tags that are wrong, add those that are "
    "missing, or confirm that all is right; from then on a sound's tags count as complete. A model learns most from "
    "the sounds on which it is least sure: they stand first if you choose so, as long as nobody has checked them."
)
EMPTY = """### No sounds yet
Fill the store, then press **Refresh**: `python -m scripts tagger --source folder --folder recordings --once`"""
ALL_CHECKED = "### All sounds are checked\nChoose *Newest first* to see them."
KEPT = (
    "**Agreement**: the share of the model's tags that people kept, of the checked sounds of a day; beside it, how "
    f"many tags that is, and how many tags people added. The last {DAYS} days with checked sounds."
)
NONE_CHECKED = "**Agreement**: nobody has corrected or confirmed a sound yet."
MOVED = (
    "**Drift**: how far each label's mean probability in the {0} most recent sounds is from that in the first {0} of "
    "{1}. *Moved*: the Kolmogorov-Smirnov test tells the two sets of probabilities apart (1 find in 20 may be chance)."
)
TOO_FEW = f"**Drift**: needs two periods of at least {MIN_SOUNDS} sounds by one model; the store has fewer."
FILES = (
    "The sounds that somebody corrected or confirmed, for training. `labels.csv` is a label table of all of them, "
    "`genres.csv` of those with exactly one tag; `python -m scripts merge FILE` puts one into a model's table. "
    "`overrides.csv` and `genre_overrides.csv` correct sounds that such a table has already."
)


def serve(store: Store, free: bool, access: Access) -> None:
    """Show the page until Ctrl-C."""
    page = build(store, free)
    page.queue(default_concurrency_limit=AT_ONCE)
    page.launch(
        allowed_paths=[str((store.folder / name).resolve()) for name in ("audio", "images", "exports")],
        max_file_size=1,  # nobody has to upload anything
        css=CSS,
        js=SCRIPT,
        **launch_settings(access),
    )
    print(f"monitor of {store.folder}: http://{access.host}:{access.port} (Ctrl-C stops it)", flush=True)
    page.block_thread()


def build(store: Store, free: bool) -> gr.Blocks:
    """The page; where `free` is false, people may add the labels of the models alone."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as page:
        gr.Markdown(f"# {TITLE}\n{INTRODUCTION}")
        with gr.Row(elem_classes="bar"):
            name = gr.Textbox(label=NAME, placeholder=NAME, max_length=MAX_CHARACTERS, container=False, min_width=180)
            refresh = gr.Button("Refresh", min_width=100, scale=0)
        remember(page, name)
        with gr.Tab("Sounds"):
            add_sounds(page, store, free, name, refresh)
        with gr.Tab("Charts") as tab:
            add_charts(store, [tab.select, refresh.click])
        with gr.Tab("Export"):
            add_export(store)
    return page


def remember(page: gr.Blocks, name: gr.Textbox) -> None:
    """Keep the name in the browser, for the next visit; one that was typed before the page was ready stays."""
    page.load(None, name, name, js="name => name || (localStorage.getItem('monitor-name') ?? '')")
    name.change(None, name, js="name => localStorage.setItem('monitor-name', name)")


# --- sounds -------------------------------------------------------------------------------------------------


def add_sounds(page: gr.Blocks, store: Store, free: bool, name: gr.Textbox, refresh: gr.Button) -> None:
    """The cards of a page of sounds, their order, and the buttons to the next and the previous ones."""
    order = gr.Radio(ORDERS, value=NEWEST_FIRST, label="Order", show_label=False, container=False)
    # keys of the least sure ones, if they are to be shown: the list stays until Refresh, while its sounds are checked
    unsure, offset = gr.State(None), gr.State(0)
    triggers = [page.load, refresh.click, offset.change, unsure.change]

    def choose(order: str) -> tuple[list[str] | None, int]:
        return (store.least_sure(LEAST_SURE) if order == LEAST_SURE_FIRST else None), 0

    order.change(choose, order, [unsure, offset], show_progress="hidden")
    refresh.click(choose, order, [unsure, offset], show_progress="hidden")

    @gr.render(inputs=[unsure, offset], triggers=triggers, show_progress="hidden")  # type: ignore[untyped-decorator]
    def show(unsure: list[str] | None, first: int) -> None:
        if unsure is None:
            sounds = store.newest(PER_PAGE, first)
        else:
            sounds = [store.get(key) for key in unsure[first : first + PER_PAGE]]
        vocabulary = store.vocabulary()
        if not sounds:
            gr.Markdown(ALL_CHECKED if store.count() else EMPTY)
        with gr.Row(elem_classes="cards"):
            for stored in sounds:
                add_card(store, stored, vocabulary, free, name)

    add_pager(store, unsure, offset, triggers)


def add_pager(store: Store, unsure: gr.State, offset: gr.State, triggers: Sequence[Callable[..., Any]]) -> None:
    """Buttons that stay, so that who uses them by the keyboard stays on them, and between them what is shown."""
    with gr.Row(elem_classes="pager"):
        previous = gr.Button("Previous", interactive=False, min_width=80)
        shown = gr.HTML(**LIVE)
        following = gr.Button("Next", interactive=False, min_width=80)

    def describe_page(unsure: list[str] | None, first: int) -> tuple[gr.Button, str, gr.Button]:
        count = store.count() if unsure is None else len(unsure)
        last = min(first + PER_PAGE, count)
        words = f"{first + 1} to {last} of {count} sounds" if count else ""
        return gr.Button(interactive=first > 0), words, gr.Button(interactive=last < count)

    gr.on(triggers, describe_page, [unsure, offset], [previous, shown, following], show_progress="hidden")
    previous.click(lambda first: max(0, first - PER_PAGE), offset, offset, show_progress="hidden")
    following.click(lambda first: first + PER_PAGE, offset, offset, show_progress="hidden")


def add_card(store: Store, stored: StoredSound, vocabulary: list[str], free: bool, name: gr.Textbox) -> None:
    """One sound, with its tags to edit."""
    key = stored.sound.key
    with gr.Column(elem_classes="card", elem_id=f"sound-{key}", min_width=280):
        gr.HTML(describe(stored), apply_default_css=False)
        tags = gr.Dropdown(vocabulary, value=stored.tags, label=f"Tags of {title_of(stored.sound)}", **EDITABLE)
        with gr.Row(elem_classes="foot"):
            checked = gr.HTML(history(stored), **LIVE)
            confirmed = gr.Button("All right", size="sm", min_width=80, scale=0)

    def edit(person: str, event: gr.SelectData) -> tuple[list[str], str]:
        def write() -> None:
            if event.selected and not free and event.value not in vocabulary:
                near = [repr(label) for label in difflib.get_close_matches(event.value, vocabulary, n=1)] or ["one"]
                raise ConfigError(f"no model knows the tag {event.value!r}; choose {near[0]} from the list")
            store.correct(key, event.value, "add" if event.selected else "remove", person)

        return attempt(store, key, write)

    def confirm(person: str) -> tuple[list[str], str]:
        return attempt(store, key, lambda: store.confirm(key, person))

    settings: dict[str, Any] = {"outputs": [tags, checked], "show_progress": "hidden", "trigger_mode": "multiple"}
    tags.select(edit, name, **settings)
    confirmed.click(confirm, name, **settings)


def attempt(store: Store, key: str, write: Callable[[], None]) -> tuple[list[str], str]:
    """Write, or say what is wrong; either way the card's tags and history, as the store has them now."""
    try:
        write()
    except ProjectError as error:
        gr.Warning(text(str(error)))
    now = store.get(key)
    return now.tags, history(now)


# --- charts and files ---------------------------------------------------------------------------------------


def add_charts(store: Store, triggers: Sequence[Callable[..., Any]]) -> None:
    """Agreement by day and drift by label, drawn again on each trigger."""

    @gr.render(triggers=triggers, show_progress="hidden")  # type: ignore[untyped-decorator]
    def show() -> None:
        show_agreement(agreement(store.reviewed()))
        show_drift(*periods(store))


def show_agreement(days: pd.DataFrame) -> None:
    if days.empty:
        gr.Markdown(NONE_CHECKED)
        return
    gr.Markdown(KEPT)
    days = days.tail(DAYS).assign(day=days["day"].dt.strftime("%Y-%m-%d"), removed=days["given"] - days["kept"])
    days["tags kept (%)"] = (100 * days["agreement"]).round(1)
    tags = days.melt("day", ["kept", "removed", "added"], "what", "tags")
    with gr.Row():
        gr.BarPlot(days, "day", "tags kept (%)", y_lim=[0, 100], tooltip="all", **CHART)
        gr.BarPlot(tags, "day", "tags", color="what", color_map=TAG_COLOURS, **CHART)


def show_drift(first: Sequence[StoredSound], recent: Sequence[StoredSound]) -> None:
    if len(first) < MIN_SOUNDS:
        gr.Markdown(TOO_FEW)
        return
    table = drift(first, recent)
    table = table.assign(change=table["recent"] - table["first"], moved=table["moved"].map({True: "yes", False: "no"}))
    gr.Markdown(MOVED.format(len(first), recent[0].sound.model))
    with gr.Row():
        bars = table.head(MAX_BARS).assign(label=[*map(short, table["label"], range(1, MAX_BARS + 1))])
        gr.BarPlot(bars, "label", "change", color="moved", color_map=DRIFT_COLOURS, **CHART | {"height": 420})
        shown = table[["label", "first", "recent", "change", "p", "moved"]].round(3)
        gr.Dataframe(shown, interactive=False, max_height=CHART["height"], min_width=CHART["min_width"])


def short(label: str, place: int) -> str:
    """For an axis: a long label is cut, and its place in the table keeps it from being taken for another."""
    return label if len(label) <= SHORT else f"{place}. {label[:SHORT]}…"


def add_export(store: Store) -> None:
    """A button that writes the files, and links to them, or what is wrong."""
    gr.Markdown(FILES)
    button = gr.Button("Write the files", variant="primary")
    written = gr.HTML(**LIVE)

    def write() -> str:
        try:
            return links(export(store, store.folder / "exports"))
        except ProjectError as error:
            return text(str(error))

    button.click(write, outputs=written)
