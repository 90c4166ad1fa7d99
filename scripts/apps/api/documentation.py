"""The API's documentation as one page without scripts, from its OpenAPI document."""

import json
from pathlib import Path
from typing import Any

import jinja2

STYLE_ALONE = "default-src 'none'; style-src 'unsafe-inline'"
TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def documentation_page(document: dict[str, Any]) -> str:
    """An OpenAPI document as HTML: each path with its parameters, bodies and answers, and an example of each."""
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]

    def example(content: dict[str, Any]) -> str:
        """Of a kind of content: its own, or that of its schema; empty where there is none."""
        if "example" in content:
            return content["example"]
        schema = content.get("schema", {})
        schema = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
        return "\n".join(json.dumps(one, indent=2) for one in schema.get("examples", []))

    return TEMPLATES.get_template("documentation.html").render(
        info=document["info"], operations=operations, example=example
    )
