"""Random edits of JSON files and of model files: values, names and bytes as damage or a person might leave them."""

import copy
import io
import json
import random
import zipfile
from collections.abc import Iterator
from typing import Any

# Values that are valid JSON, or Python's idea of it, and seldom what a field may hold.
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 10**15, -(10**15), 2**63, 10**30, 0.5, -0.5, 1e300, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), "", "0", "x", "../x", "/etc/passwd", "nul\0", "\udcff", "é", "a\nb"),
    *([], {}, [[]], [None], {"": 0}, ["x", "x"], {"x": {"x": []}}),
)
_DEEP = "[" * 200_000 + "]" * 200_000
_LARGE = 4_000


def edited_json(text: str, rng: random.Random) -> str:
    """Return JSON text with one edit: of its bytes, of one value or name, or of the order of a list."""
    kind = rng.choice(("bytes", "value", "value", "value", "value", "name", "remove", "repeat", "deep", "large"))
    if kind == "bytes":
        return _edited_text(text, rng)
    if kind == "deep":
        return _DEEP if rng.random() < 0.5 else text.replace(":", f':{_DEEP},"x":', 1)
    data = json.loads(text)
    container, key = rng.choice(list(_places(data)))
    if kind == "value":
        container[key] = _another(container[key], rng)
    elif kind == "large":
        value = container[key]
        container[key] = "x" * _LARGE if isinstance(value, dict | list) or rng.random() < 0.5 else [value] * _LARGE
    elif kind == "remove":
        del container[key]
    elif isinstance(container, list):
        # Something twice, or in another's place.
        container.insert(rng.randrange(len(container) + 1), copy.deepcopy(rng.choice(container)))
    elif kind == "name":
        container[rng.choice(["", "x", "0", "-1", "../x", f"{key} ", str(key).upper()])] = container.pop(key)
    else:
        container[key] = copy.deepcopy(rng.choice(list(container.values())))
    return json.dumps(data)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in parsed JSON, as its container and the key or index there."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in list(items):
        yield data, key
        yield from _places(value)


def _another(value: Any, rng: random.Random) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and rng.random() < 0.5:
        return rng.choice([value + 1, value - 1, -value, value * 1000, float(value), str(value)])
    if isinstance(value, str) and rng.random() < 0.5:
        return rng.choice([value + "x", value[:-1], f"../{value}", value.upper(), value + "\n", [value]])
    return copy.deepcopy(rng.choice(_VALUES))


def _edited_text(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text))
    return rng.choice(
        [
            text[:at],
            text[:at] + rng.choice('0123456789-+.eE"[]{},:\\\0\ufeffNI') + text[at + 1 :],
            text[:at] + text[at + rng.randint(1, 20) :],
            text + text[at:],
            "\ufeff" + text,
        ]
    )


def edited_archive(data: bytes, member: str, rng: random.Random) -> bytes:
    """Return a .keras file with an edit of its configuration, of a stretch of its weights, or of any of its bytes.

    Args:
      data: the file.
      member: of the archive, its configuration as JSON.
      rng: decides.
    """
    kind = rng.choice(("configuration", "configuration", "weights", "bytes"))
    if kind == "bytes":
        at = rng.randrange(len(data))
        return rng.choice([data[:at], data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]])
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == member and kind == "configuration":
                content = edited_json(content.decode("utf-8"), rng).encode("utf-8", "surrogatepass")
            elif name.endswith(".h5") and kind == "weights":
                content = _edited_weights(content, rng)
            new.writestr(name, content)
    return made.getvalue()


def _edited_weights(content: bytes, rng: random.Random) -> bytes:
    # As float32: NaN, infinity, or any number.
    word = rng.choice([b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", rng.randbytes(4)])
    at, count = rng.randrange(0, len(content) - 4, 4), rng.choice([1, 1, 16])
    return content[:at] + word * count + content[at + 4 * count :]
