"""The try-it page, on Gradio."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr
from starlette.middleware import Middleware

from scripts.apps.gradio_settings import LAUNCH
from scripts.apps.try_it.html import CSS, answer, facts, render
from scripts.apps.try_it.listener import LONGEST, Heard, Listener
from scripts.apps.try_it.uploads import CONSENT, Uploads, keep
from scripts.common.cli import describe_os_error
from scripts.common.errors import ProjectError

LARGEST = 50  # MB of a file
AT_ONCE = 2  # sounds that are listened to; others wait
WAITING = 32  # people at most
CLEANING = (60, 1800)  # s: how often, and how old a file is that nobody asked about
# before the sound is deleted, the browser takes it back, for the player
TAKE_BACK = """async (file, allowed) => {
  URL.revokeObjectURL(window.heard);
  window.heard = URL.createObjectURL(await (await fetch(file.url)).blob());
  return [file, allowed];
}"""
SHARED = {"concurrency_id": "answer", "concurrency_limit": AT_ONCE, "api_visibility": "private"}
ANSWER, MICROPHONE = (
    (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
    for name in ("try_it.js", "try_it_microphone.js")
)


class Desk:
    """Takes sounds, gives answers, and sees to it that nothing stays that should not."""

    def __init__(self, listener: Listener, contributions: Path) -> None:
        self.listener, self.contributions, self.uploads = listener, contributions, Uploads()

    def answer(self, path: str, allowed: bool) -> tuple[None, str]:
        """An empty input, and the answer as HTML, or what was wrong."""
        name = Path(path).name
        try:
            heard = self.listener.hear(path)
            return None, answer(heard, name, self.settle(path, allowed, heard))
        except ProjectError as error:
            reason = str(error).removeprefix(f"{path}: ").replace(path, name)
            return None, render("problem", name=name, reason=reason)
        finally:
            self.uploads.finish(path)

    def settle(self, path: str, allowed: bool, heard: Heard) -> str:
        """Keep an uploaded sound if that was allowed; returns what becomes of it. Examples are nobody's."""
        if not self.uploads.has(path):
            return ""
        if not allowed:
            return "Your sound has been deleted; nothing was kept."
        try:
            kept = keep(path, self.contributions, self.listener.run.name, heard.prediction)
        except OSError as error:
            return f"Thank you, but it could not be kept and has been deleted: {describe_os_error(error)}."
        return f"Thank you: kept with your permission, as {kept.name}."


def serve(listener: Listener, examples: dict[str, Path], contributions: Path, host: str, port: int) -> None:
    """Show the page until Ctrl-C."""
    desk = Desk(listener, contributions)
    page = build(desk, examples)
    page.queue(max_size=WAITING)
    page.launch(
        server_name=host,
        server_port=port,
        max_file_size=LARGEST * 2**20,
        app_kwargs={"middleware": [Middleware(desk.uploads.watch)]},
        css=CSS,
        **LAUNCH,
    )
    print(f"try {listener.run.name}: http://{host}:{port} (Ctrl-C stops it)", flush=True)
    page.block_thread()


def build(desk: Desk, examples: dict[str, Path]) -> gr.Blocks:
    """The page: a sound goes in on the left, the answer comes out on the right, the model stands below."""
    about = facts(desk.listener.run)
    with gr.Blocks(title=f"Try {about['run']}", analytics_enabled=False, delete_cache=CLEANING) as page:
        gr.HTML(render("head", **about))
        with gr.Row(elem_classes="main"):
            with gr.Column(scale=2, min_width=300, elem_classes="give"):
                sound, allowed, picked = add_inputs(examples)
            with gr.Column(scale=5, min_width=300):
                shown = gr.HTML(render("welcome"), js_on_load=ANSWER, elem_id="answer")
        gr.HTML(render("about", **about))
        for trigger in (sound.upload, sound.stop_recording, picked):
            trigger(desk.answer, [sound, allowed], [sound, shown], js=TAKE_BACK, show_progress_on=shown, **SHARED)
    return page


def add_inputs(examples: dict[str, Path]) -> tuple[gr.Audio, gr.Checkbox, Callable]:
    """Upload or recording, consent, examples; returns the first two, and the event that an example was picked."""
    sound = gr.Audio(
        label="A sound",
        type="filepath",
        sources=["upload", "microphone"],
        editable=False,
        buttons=[],
        elem_id="sound",
    )
    gr.HTML(render("limits", minutes=LONGEST / 60, megabytes=LARGEST), js_on_load=MICROPHONE)
    allowed = gr.Checkbox(label=CONSENT, container=False, elem_id="allowed")
    files = [[str(path)] for path in examples.values()]
    samples = gr.Examples(files, sound, label="Or pick an example", example_labels=list(examples), elem_id="examples")
    return sound, allowed, samples.load_input_event.success
