"""Names that a package exports without importing their modules before they are used."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's `__getattr__` (PEP 562).

    Args:
      package: its name.
      modules: exported name -> the module that defines it.

    Example:
      >>> lazy("numbers", {"sqrt": "math"})("sqrt")(9)
      3.0
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(modules[name]), name)

    return get
