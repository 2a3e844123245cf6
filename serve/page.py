"""Pages of one file each: HTML from a template beside this file, no script, nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader


def render_page(template: str, **context: Any) -> str:
    """A page in the house's look; whatever is no `Markup` is escaped.

    Args:
        template: Name of a file such as "report.html.jinja".
        context: What it shows.
    """
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    return environment.get_template(template).render(**context)
