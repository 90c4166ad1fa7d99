"""The try-it page, on Gradio."""

import itertools
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import gradio as gr
from starlette.middleware import Middleware

from scripts.apps.access import Access
from scripts.apps.gradio_settings import launch_settings
from scripts.apps.try_it.html import CSS, answer, facts, render
from scripts.apps.try_it.listener import LONGEST, Heard, Listener
from scripts.apps.try_it.uploads import CONSENT, LONGEST_WAIT, UploadTracker, keep
from scripts.audio.decoding import SUFFIXES
from scripts.common.cli import describe_os_error
from scripts.common.errors import ProjectError
from scripts.common.memory import return_freed_memory
from scripts.config.run import Run
from scripts.inference.registry import version_of

LARGEST = 50  # MB of a file
AT_ONCE = 2  # sounds that are listened to; others wait
WAITING = 32  # people at most
LOOK_SECONDS = 10  # between two looks at the registry
CLEANING = (
    60,
    int(LONGEST_WAIT),
)  # s: how often Gradio looks for uploads that nobody asked about, and from which age on
GIVE, ANSWER = (
    (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8") for name in ("try_it_give.js", "try_it.js")
)


class SoundService:
    """Takes sounds, gives answers, and sees to it that nothing stays that should not."""

    def __init__(
        self,
        listener: Listener,
        examples: dict[str, Path],
        contributions: Path,
        uploads: Path,
        newer: Callable[[Run], Run | None] = lambda run: None,
    ) -> None:
        """Listen with the run of `listener` first.

        Parameters
        ----------
        examples : files by what they are called.
        contributions : folder of sounds that may be kept. uploads : Gradio's, as `UploadTracker` takes it.
        newer : what is to take over from a run, None where nothing is.
        """
        self.listener, self.examples, self.contributions, self.newer = listener, examples, contributions, newer
        self.uploads, self.numbers = UploadTracker(uploads), itertools.count()

    def answer(self, event: gr.EventData) -> str:
        """The answer as HTML to what the page sends: an example's number, or an uploaded file's path and a consent."""
        match event._data:
            case {"example": int(number)} if 0 <= number < len(self.examples):
                name, path = list(self.examples.items())[number]
                return self.answer_sound(str(path), name, allowed=None)
            case {"path": str(path), "allowed": bool(allowed)} if self.uploads.has(path):
                return self.answer_sound(path, Path(path).name, allowed)
        return self.problem("This sound", "is not here, or not any more")

    def answer_with_model(self, event: gr.EventData) -> tuple[str, str, str]:
        """The answer, and what the page says of the model, which may be another one by now."""
        return self.answer(event), *self.model()

    def answer_sound(self, path: str, name: str, allowed: bool | None) -> str:
        """What is heard in a file, or what is wrong with it; `allowed` is None where it is nobody's."""
        listener = self.listener
        try:
            heard = listener.hear(path)
            return answer(heard, name, next(self.numbers), self.settle(path, allowed, listener.run, heard))
        except ProjectError as error:
            return self.problem(name, str(error).removeprefix(f"{path}: ").replace(path, name))
        finally:
            self.uploads.finish(path)
            return_freed_memory()

    def problem(self, name: str, reason: str) -> str:
        return render("problem", number=next(self.numbers), name=name, reason=reason)

    def settle(self, path: str, allowed: bool | None, run: Run, heard: Heard) -> str:
        """Keep an uploaded sound if that was allowed; returns what becomes of it."""
        if allowed is None:
            return ""
        if not allowed:
            return "Your sound has been deleted; nothing was kept."
        try:
            kept = keep(path, self.contributions, version_of(run), heard.prediction)
        except OSError as error:
            return f"Thank you, but it could not be kept and has been deleted: {describe_os_error(error)}."
        return f"Thank you: kept with your permission, as {kept.name}."

    def refresh(self) -> None:
        """Listen with the run that is to take over, if there is one; sounds in hand are heard by the one before."""
        if run := self.newer(self.listener.run):
            self.listener = Listener(run)
            print(f"{version_of(run)} takes over", flush=True)

    def model(self) -> tuple[str, str]:
        """What the page says of its model, above and below."""
        about = facts(self.listener.run)
        return render("head", **about), render("about", **about)


def keep_looking(service: SoundService) -> None:
    """Refresh again and again; a registry that cannot be read changes nothing, and is told once."""
    told = ""
    while True:
        time.sleep(LOOK_SECONDS)
        try:
            service.refresh()
            told = ""
        except (ProjectError, OSError) as error:
            if str(error) != told:
                print(f"no look for newer models: {error}", file=sys.stderr, flush=True)
            told = str(error)


def serve(service: SoundService, access: Access) -> None:
    """Show the page until Ctrl-C."""
    page = build(service)
    page.queue(max_size=WAITING)
    page.launch(
        max_file_size=LARGEST * 2**20,
        allowed_paths=[str(path) for path in service.examples.values()],
        css=CSS,
        **launch_settings(access, Middleware(service.uploads.watch)),
    )
    threading.Thread(target=keep_looking, args=[service], daemon=True).start()
    print(f"try {version_of(service.listener.run)}: http://{access.host}:{access.port} (Ctrl-C stops it)", flush=True)
    page.block_thread()


def build(service: SoundService) -> gr.Blocks:
    """The page: a sound goes in on the left, the answer comes out on the right, the model stands below."""
    above, below = service.model()
    with gr.Blocks(title="Try it", analytics_enabled=False, delete_cache=CLEANING) as page:
        head = gr.HTML(above)
        with gr.Row(elem_classes="main"):
            with gr.Column(scale=2, min_width=300):
                given = gr.HTML(inputs(service.examples), js_on_load=GIVE, apply_default_css=False)
            with gr.Column(scale=5, min_width=300):
                shown = gr.HTML(render("welcome"), js_on_load=ANSWER, elem_id="answer")
        about = gr.HTML(below)
        page.load(service.model, outputs=[head, about], show_progress="hidden", api_visibility="private")
        answered = given.submit(
            service.answer_with_model,
            outputs=[shown, head, about],
            show_progress_on=shown,
            trigger_mode="multiple",
            concurrency_limit=AT_ONCE,
            api_visibility="private",
        )
        answered.failure(None, js="() => document.dispatchEvent(new Event('unanswered'))")
    return page


def inputs(examples: dict[str, Path]) -> str:
    """Upload, recording, consent and examples, as HTML."""
    return render(
        "give",
        suffixes=sorted(SUFFIXES),
        minutes=LONGEST / 60,
        megabytes=LARGEST,
        consent=CONSENT,
        examples={name: "gradio_api/file=" + quote(path.as_posix()) for name, path in examples.items()},
    )
