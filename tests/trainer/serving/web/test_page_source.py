import base64
import hashlib
import json
import re
from pathlib import Path

from trainer.serving.web import app

FACTS = {"model": "time", "labels": ['rock "n" <roll>', "</script>", "jazz $style"]}


def test_every_file_of_the_folder_is_in_the_page():
    text = app.page(FACTS)[0].decode("utf-8")
    folder = Path(app.__file__).parent / "page"
    pieces = [path for path in folder.iterdir() if path.suffix in (".css", ".js")]
    assert len(pieces) >= 5
    for path in pieces:
        assert path.read_text("utf-8") in text, path.name


def test_its_policy_lets_exactly_its_own_style_and_script_work():
    page, policy = app.page(FACTS)
    text = page.decode("utf-8")
    for tag in ("style", "script"):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(inline.encode("utf-8")).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy and "default-src 'none'" in policy and "frame-ancestors 'none'" in policy


def test_it_names_nothing_of_the_network():
    text = app.page(FACTS)[0].decode("utf-8")
    assert "http:" not in text and "https:" not in text and "//cdn" not in text


def test_foreign_names_do_not_end_what_holds_them(parse_page):
    parsed = parse_page(app.page(FACTS)[0].decode("utf-8"))
    assert json.loads(parsed.all("body")[0]["data-facts"]) == FACTS


def test_what_can_be_operated_has_a_name_and_every_label_an_input(parse_page):
    parsed = parse_page(app.page(FACTS)[0].decode("utf-8"))
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in parsed.tags:
        for name in ("for", "aria-labelledby", "aria-describedby"):
            assert attributes.get(name, ids[0]) in ids
    (slider,) = [attributes for _, attributes in parsed.tags if attributes.get("role") == "slider"]
    assert slider["tabindex"] == "0" and slider["aria-label"]
