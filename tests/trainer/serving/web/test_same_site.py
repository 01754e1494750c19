from email.message import Message

import pytest

from trainer.serving.web import same_site
from trainer.serving.web.refusal import Refusal


def headers(*pairs):
    message = Message()
    for name, value in pairs:
        message[name] = value
    return message


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_the_pages_own_requests_pass(name):
    own = f"{name}:8000"
    same_site.check(headers(("Host", own)), 8000)
    same_site.check(headers(("Host", own), ("Origin", f"http://{own}")), 8000)
    same_site.check(headers(("Host", name), ("Origin", f"http://{name}")), 80)


@pytest.mark.parametrize(
    ("pairs", "reason"),
    [
        ([], "other_host"),
        ([("Host", "music.example:8000")], "other_host"),
        ([("Host", "127.0.0.1.music.example:8000")], "other_host"),
        ([("Host", "127.0.0.1:9000")], "other_host"),
        ([("Host", "127.0.0.1")], "other_host"),
        ([("Host", "localhost:8000"), ("Host", "music.example")], "other_host"),
        ([("Host", "localhost:8000"), ("Origin", "http://music.example")], "other_site"),
        ([("Host", "localhost:8000"), ("Origin", "http://localhost:9000")], "other_site"),
        ([("Host", "localhost:8000"), ("Origin", "https://localhost:8000")], "other_site"),
        ([("Host", "localhost:8000"), ("Origin", "null")], "other_site"),
    ],
)
def test_all_others_are_refused(pairs, reason):
    with pytest.raises(Refusal) as refused:
        same_site.check(headers(*pairs), 8000)
    assert refused.value.reason == reason and refused.value.status == 403
