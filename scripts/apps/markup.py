"""Words in the HTML of the pages."""

import html
import re


def text(words: str) -> str:
    """Escaped; braces and dollars too, which the page would take for parts of a template."""
    return re.sub(r"[{}$`]", lambda sign: f"&#{ord(sign[0])};", html.escape(words))
