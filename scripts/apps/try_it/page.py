"""The try-it page, on Gradio."""

import asyncio
import itertools
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import quote

import gradio as gr
from starlette.middleware import Middleware

from scripts.apps.access import Access
from scripts.apps.gradio_settings import launch_settings
from scripts.apps.polling import poll
from scripts.apps.try_it.analyser import LONGEST, SoundAnalyser, SoundAnalysis
from scripts.apps.try_it.html import CSS, answer, facts, render
from scripts.apps.try_it.uploads import CONSENT, LONGEST_WAIT, UploadTracker, keep
from scripts.audio.decoding import SUFFIXES
from scripts.common.cli import describe_os_error
from scripts.common.errors import ProjectError
from scripts.common.memory import return_freed_memory
from scripts.config.run import Run
from scripts.inference.registry import version_of

LARGEST = 50  # MB of a file
AT_ONCE = 2  # sounds that are analysed; others wait
MAX_WAITING = 32  # people
CLEANING = 60, int(LONGEST_WAIT)  # s: between two looks for uploads that nobody asked about; age from which they go
GIVE, ANSWER = (
    (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8") for name in ("try_it_give.js", "try_it.js")
)


class SoundService:
    """Takes sounds, gives answers, and sees to it that nothing stays that should not."""

    def __init__(
        self,
        analyser: SoundAnalyser,
        examples: dict[str, Path],
        contributions: Path,
        uploads: Path,
        newer: Callable[[Run], Run | None] = lambda run: None,
    ) -> None:
        """Answer with the run of `analyser` first.

        Parameters
        ----------
        examples : name on the page -> file.
        contributions : folder for sounds that may be kept.
        uploads : Gradio's folder, as `UploadTracker` takes it.
        newer : gives the run that is to take over from a run, None where there is none.
        """
        self.analyser, self.examples, self.contributions, self.newer = analyser, examples, contributions, newer
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
        """The answer, and the page's text about the model, which may be another one by now."""
        return self.answer(event), *self.model()

    def answer_sound(self, path: str, name: str, allowed: bool | None) -> str:
        """The analysis of a file, or what is wrong with it; `allowed` is None where it is nobody's."""
        analyser = self.analyser
        try:
            analysis = analyser.analyse(path)
            return answer(analysis, name, next(self.numbers), self.settle(path, allowed, analyser.run, analysis))
        except ProjectError as error:
            return self.problem(name, str(error).removeprefix(f"{path}: ").replace(path, name))
        finally:
            self.uploads.finish(path)
            return_freed_memory()

    def problem(self, name: str, reason: str) -> str:
        return render("problem", number=next(self.numbers), name=name, reason=reason)

    def settle(self, path: str, allowed: bool | None, run: Run, analysis: SoundAnalysis) -> str:
        """Keep an uploaded sound if that was allowed; returns what becomes of it."""
        if allowed is None:
            return ""
        if not allowed:
            return "Your sound has been deleted; nothing was kept."
        try:
            kept = keep(path, self.contributions, version_of(run), analysis.prediction)
        except OSError as error:
            return f"Thank you, but it could not be kept and has been deleted: {describe_os_error(error)}."
        return f"Thank you: kept with your permission, as {kept.name}."

    def refresh(self) -> None:
        """Answer with the run that is to take over, if there is one; sounds in hand stay with the one before."""
        if run := self.newer(self.analyser.run):
            self.analyser = SoundAnalyser(run)
            print(f"{version_of(run)} takes over", flush=True)

    def model(self) -> tuple[str, str]:
        """The page's text about its model, above and below."""
        about = facts(self.analyser.run)
        return render("head", **about), render("about", **about)


def serve(service: SoundService, access: Access) -> None:
    """Show the page until Ctrl-C."""
    page = build(service)
    page.queue(max_size=MAX_WAITING)
    page.launch(
        max_file_size=LARGEST * 2**20,
        allowed_paths=[str(path) for path in service.examples.values()],
        css=CSS,
        **launch_settings(access, Middleware(service.uploads.watch)),
    )

    async def refresh() -> None:
        service.refresh()

    warn = partial(print, file=sys.stderr, flush=True)
    threading.Thread(target=lambda: asyncio.run(poll(refresh, warn)), daemon=True).start()
    print(f"try {version_of(service.analyser.run)}: http://{access.host}:{access.port} (Ctrl-C stops it)", flush=True)
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
