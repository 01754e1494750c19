"""Shows examples of docstrings as code, and settings by their defaults, on the pages of the API.

An extension of griffe, which mkdocs.yml names.
"""

import re
import textwrap
from typing import Any

import griffe

_LITERAL = re.compile(r"^Example::\n\n(?P<code>(?:[ ]+.*\n?|\n)+)", re.M)


class Examples(griffe.Extension):
    """Gives "Example:" the name that griffe knows, and makes code blocks of literal ones.

    Of a field that is `setting(default, ...)` (trainer.settings) only the default is shown.
    """

    def on_attribute_instance(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Change a default before the parameters of its class are made of it."""
        value = attr.value
        if isinstance(value, griffe.ExprCall) and str(value.function) == "setting":
            attr.value = value.arguments[0]

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change a docstring before it is parsed."""
        if obj.docstring is not None:
            text = _LITERAL.sub(_fenced, obj.docstring.value)
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.M)


def _fenced(match: re.Match[str]) -> str:
    code = textwrap.indent(f"```python\n{textwrap.dedent(match['code']).strip()}\n```\n", "  ")
    return f"Examples:\n{code}"
