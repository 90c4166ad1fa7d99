"""What the pages on Gradio have in common."""

import secrets
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from scripts.apps.access import Access, KnownHosts

THEME = gr.themes.Base(primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"]).set(
    body_text_color_subdued="*neutral_600",  # so that all text has a contrast of 4.5
    block_info_text_color="*neutral_600",
    block_label_text_color="*neutral_600",
    input_placeholder_color="*neutral_600",
    input_placeholder_color_dark="*neutral_300",
    color_accent="*primary_600",
)
HEAD = """<style>
.loading { visibility: hidden } /* Gradio's word for it, beside its animation */
:root body.dark { --color-accent: var(--primary-300) }
</style>"""
LAUNCH: dict[str, Any] = {
    "theme": THEME,
    "head": HEAD,
    "footer_links": [],
    "run_history": False,
    "ssr_mode": False,
    "quiet": True,
    "prevent_thread_lock": True,
    "auth_message": "Any name, and the password that this page was started with.",
}


def launch_settings(access: Access, *middleware: Middleware) -> dict[str, Any]:
    """For `gr.Blocks.launch`: where the page is served, who may see it, and `LAUNCH`."""
    guards = [] if access.known_hosts is None else [Middleware(KnownHosts, hosts=access.known_hosts)]
    secret = access.secret
    is_password = None if secret is None else lambda _, given: secrets.compare_digest(given.encode(), secret.encode())
    return LAUNCH | {
        "server_name": access.host,
        "server_port": access.port,
        "auth": is_password,
        "app_kwargs": {"middleware": [*guards, *middleware]},
    }
