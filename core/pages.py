"""Pages to look at, HTML and Markdown, in which what comes from the data stays text."""

from __future__ import annotations

import html
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_MARKDOWN = re.compile(r"([\\`*_\[\]|~#!])")


def render(package: str, template: str, **values: Any) -> str:
    """A template of a package, filled in; every value is escaped.

    Args:
        package: Where the template lies, such as `core.quality`.
        template: Its file.
        values: What it names; one that is missing is an error.
    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def markdown_text(value: str) -> str:
    """Text that Markdown, and the HTML it becomes, take as it is, on one line."""
    return html.escape(_MARKDOWN.sub(r"\\\1", " ".join(value.split())), quote=False)
