"""The pages of `viz/`: templates filled in, all with one head, and the hashes by which a page lets
its own script and style run and no other."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from markupsafe import Markup


def fill(template: str, *, title: str, policy: str, style: str, **values: Any) -> str:
    """A page out of a template. Values are text unless they are Markup; `policy` is its
    Content-Security-Policy."""
    import jinja2

    parts = files("lineage.viz")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: parts.joinpath(name).read_text("utf-8")),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template(template).render(
        title=title, policy=policy, style=Markup(style), **values
    )


def digest(text: str) -> str:
    """A script or a style as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
