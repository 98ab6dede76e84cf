"""Examples in docstrings, for the site: an extension of griffe that mkdocs.yml names."""

from __future__ import annotations

import re
from typing import Any

import griffe

#: Lines from a prompt to the next empty line.
_EXAMPLE = re.compile(r"^>>> .*\n(?:.+\n?)*", re.MULTILINE)


class Examples(griffe.Extension):
    """Shows an example that stands in a docstring's text as code, not as a quotation."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = _EXAMPLE.sub(
                lambda found: f"```pycon\n{found[0].rstrip()}\n```\n", obj.docstring.value
            )
