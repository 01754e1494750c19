"""Shows the examples of docstrings as code on the pages of the API (an extension of griffe, see mkdocs.yml)."""

import re
import textwrap
from typing import Any

import griffe

_LITERAL = re.compile(r"^Example::\n\n(?P<code>(?:[ ]+.*\n?|\n)+)", re.M)


class Examples(griffe.Extension):
    """Gives "Example:" the name that griffe knows, and makes code blocks of literal ones."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change a docstring before it is parsed."""
        if obj.docstring is not None:
            text = _LITERAL.sub(_fenced, obj.docstring.value)
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.M)


def _fenced(match: re.Match[str]) -> str:
    code = textwrap.indent(f"```python\n{textwrap.dedent(match['code']).strip()}\n```\n", "  ")
    return f"Examples:\n{code}"
