"""What the pages on Gradio have in common."""

from typing import Any

import gradio as gr

LAUNCH: dict[str, Any] = {
    "theme": gr.themes.Base(primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"]),
    "footer_links": [],
    "run_history": False,
    "ssr_mode": False,
    "quiet": True,
    "prevent_thread_lock": True,
}
