"""Keeps other web sites out: what a browser sends for them is not answered.

The server listens on the loopback interface, which every page open in this machine's browser can reach too. Two ways
lead from such a page to a local server, and each has its check:

- A name of the site's own that is made to point at 127.0.0.1 (DNS rebinding): then Host names the site.
- A plain cross-site request: then Origin, which a browser sends with every POST, names the site.

What no browser sent (no Origin, as from curl) comes from a program of this machine, and is answered.
"""

from email.message import Message
from http import HTTPStatus

from trainer.serving.web.refusal import Refusal

_NAMES = ("127.0.0.1", "localhost")


def check(headers: Message, port: int) -> None:
    """Lets the page's own requests pass.

    Args:
      headers: of the request.
      port: that the server listens on.

    Raises:
      Refusal: the request is to another name, or from another site.
    """
    hosts = {f"{name}:{port}" for name in _NAMES} | (set(_NAMES) if port == 80 else set())
    if headers.get_all("Host", []) not in [[host] for host in hosts]:
        raise Refusal(HTTPStatus.FORBIDDEN, "other_host", f"This server answers at http://127.0.0.1:{port} only.")
    origins = headers.get_all("Origin", [])
    if origins and origins not in [[f"http://{host}"] for host in hosts]:
        raise Refusal(HTTPStatus.FORBIDDEN, "other_site", "Requests from other sites are not answered.")
