"""Buckets as tfrecords.storage uses them: requests by obstore, repeated where that helps, with errors of one line."""

import configparser
import errno
import functools
import http.client
import json
import os
import random
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import obstore
from obstore import exceptions
from obstore.store import GCSStore, MemoryStore, S3Store

# Requests are sent again by `request`, which also knows a torn body; obstore repeats the parts of an upload by itself.
_RETRY: Any = {
    "max_retries": 2,
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2)},
}
_CLIENT: Any = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "300s"}
_ATTEMPTS = 7
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 10.0
# From this size on an object is sent in parts, and appears when the last is there.
_PART_BYTES = 16 << 20
# Characters of a store's own words in an error.
_SHOWN = 300
_STATUS = re.compile(r"status code: (\d{3})")
_NO_BUCKET = re.compile(
    r"NoSuchBucket|specified bucket (does not exist|is not valid)|no bucket named|bucket does not exist"
)
_NO_CREDENTIALS = re.compile(
    r"token request|computeMetadata|169\.254\.169\.254|169\.254\.170|Error loading credential|no credential|"
    r"Missing (AccessKeyId|SecretAccessKey)|InvalidAccessKeyId|SignatureDoesNotMatch|invalid_grant|unable to decode",
    re.IGNORECASE,
)
_ADVICE = {
    "gs": "log in by gcloud auth application-default login, or set GOOGLE_APPLICATION_CREDENTIALS",
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials",
}


# That has imported this module.
_process = os.getpid()


class TornError(Exception):
    """A body was shorter than the store had said."""


class Store:
    """A bucket; objects are named by their path in it. Errors are those of obstore, for `request` to tell."""

    def __init__(self, bucket: Any) -> None:
        self._bucket = bucket

    def get(self, name: str, start: int = 0, end: int | None = None) -> tuple[Any, memoryview]:
        """Return what is known of an object (size, e_tag), and its bytes from start to before end."""
        options: Any = {} if end is None else {"range": (start, end)}
        try:
            result = obstore.get(self._bucket, name, options=options)
        except exceptions.BaseError as error:
            # A range of an empty object is refused by some stores.
            if "416" not in str(error) and "Range" not in str(error):
                raise
            head = self.head(name)
            if head["size"] > start:
                raise
            return head, memoryview(b"")
        data = memoryview(result.bytes())
        meta = result.meta
        if len(data) != min(meta["size"], meta["size"] if end is None else end) - start:
            raise TornError(f"{len(data)} bytes came of {meta['size']}")
        return meta, data

    def head(self, name: str) -> Any:
        """Return what is known of an object: size, e_tag, last_modified."""
        return obstore.head(self._bucket, name)

    def list(self, prefix: str, *, first: bool = False) -> list[tuple[str, int]]:
        """Return path and size of all objects below a directory; of the first few only, to see whether there are."""
        chunks = iter(obstore.list(self._bucket, prefix=prefix or None, chunk_size=1000))
        # As pairs at once: what else is known of a million objects is a gigabyte.
        return [(item["path"], item["size"]) for chunk in ([next(chunks, [])] if first else chunks) for item in chunk]

    def list_directory(self, prefix: str) -> Iterable[Any]:
        """Return path and size of the objects directly in a directory."""
        return obstore.list_with_delimiter(self._bucket, prefix=prefix or None)["objects"]

    def put(self, name: str, file: IO[bytes]) -> None:
        """Write an object, whole."""
        obstore.put(self._bucket, name, file, chunk_size=_PART_BYTES)

    def create(self, name: str, data: bytes) -> None:
        """Write an object unless there is one."""
        obstore.put(self._bucket, name, data, mode="create", use_multipart=False)

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the bucket."""
        obstore.copy(self._bucket, source, target)

    def delete(self, name: str) -> None:
        """Delete an object."""
        obstore.delete(self._bucket, name)


class EmulatedGoogleStore(Store):
    """A bucket of fake-gcs-server, which takes writes by Google's JSON interface only; obstore sends them by XML."""

    def __init__(self, bucket: Any, host: str, name: str) -> None:
        super().__init__(bucket)
        self._host, self._name = host, urllib.parse.quote(name, safe="")

    def put(self, name: str, file: IO[bytes]) -> None:
        """Write an object, whole."""
        self._upload(name, file.read())

    def create(self, name: str, data: bytes) -> None:
        """Write an object unless there is one."""
        self._upload(name, data, ifGenerationMatch=0)

    def copy(self, source: str, target: str) -> None:
        """Copy an object within the bucket."""
        begin, end = (urllib.parse.quote(name, safe="") for name in (source, target))
        self._post(f"/storage/v1/b/{self._name}/o/{begin}/copyTo/b/{self._name}/o/{end}", b"{}")

    def _upload(self, name: str, data: bytes, **more: int) -> None:
        query = urllib.parse.urlencode({"uploadType": "media", "name": name, **more})
        self._post(f"/upload/storage/v1/b/{self._name}/o?{query}", data)

    def _post(self, path: str, data: bytes) -> None:
        headers = {"Content-Type": "application/octet-stream" if path.startswith("/upload") else "application/json"}
        call = urllib.request.Request(self._host + path, data, headers, method="POST")  # noqa: S310 - the host is the user's
        with urllib.request.urlopen(call, timeout=60) as answer:  # noqa: S310
            json.load(answer)


def check_process() -> None:
    """Check that this is no fork of a process that has used a store, whose threads it lacks: it would wait for ever.

    Raises:
      OSError: it is one.
    """
    if _process != os.getpid():
        raise OSError(errno.ENOTSUP, "a forked process cannot use the stores of its parent; start it by spawn")


@functools.lru_cache(maxsize=64)
def open_store(scheme: str, bucket: str) -> Store:
    """Return a bucket of gs, s3 or memory by its name."""
    if scheme == "memory":
        return Store(_memory_bucket(bucket))
    if scheme == "s3":
        return Store(_s3_bucket(bucket))
    if host := os.environ.get("STORAGE_EMULATOR_HOST"):
        host = host.rstrip("/") if "://" in host else f"http://{host.rstrip('/')}"
        options: Any = {**_CLIENT, "allow_http": True}
        emulated = GCSStore(bucket, base_url=host, bearer_token="none", client_options=options, retry_config=_RETRY)  # noqa: S106
        return EmulatedGoogleStore(emulated, host, bucket)
    return Store(GCSStore(bucket, client_options=_CLIENT, retry_config=_RETRY))


@functools.cache
def _memory_bucket(bucket: str) -> MemoryStore:
    return MemoryStore()


def forget_memory() -> None:
    """Empty all buckets of memory://, between tests."""
    _memory_bucket.cache_clear()
    open_store.cache_clear()


def _s3_bucket(bucket: str) -> S3Store:
    config: Any = _aws_files()
    options: Any = dict(_CLIENT)
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        config["endpoint"] = endpoint
        options["allow_http"] = endpoint.startswith("http://")
    if region := os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        config["region"] = region
    return S3Store(bucket, config=config, client_options=options, retry_config=_RETRY)


def _aws_files() -> dict[str, str]:
    """Return the credentials and the region in ~/.aws, which obstore does not read; none where others are set."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or os.environ.get("AWS_SKIP_SIGNATURE"):
        return {}
    profile = os.environ.get("AWS_PROFILE", "default")
    home = Path("~/.aws").expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", home / "credentials"), "utf-8")
        parser.read(os.environ.get("AWS_CONFIG_FILE", home / "config"), "utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}
    found: dict[str, str] = {}
    for section in (f"profile {profile}", profile):
        if parser.has_section(section):
            found |= dict(parser.items(section))
    names = {"access_key_id", "secret_access_key", "session_token"}
    config = {name: found[f"aws_{name}"] for name in names if f"aws_{name}" in found}
    return config | ({"region": found["region"]} if "region" in found else {})


def request(url: str, send: Callable[[], Any]) -> Any:
    """Return what a request returns; send it again, after a growing pause, while the store is busy or out of reach.

    Args:
      url: of the object, for errors.
      send: the request.

    Raises:
      OSError: it failed for good; FileNotFoundError, FileExistsError and PermissionError say what they say.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return send()
        except (OSError, exceptions.BaseError, http.client.HTTPException, TornError, ValueError) as error:
            if attempt == _ATTEMPTS or not _passes(error):
                raise _explained(url, error) from error
        # Random, so that many workers do not come back at the same moment.
        time.sleep(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**attempt) * random.uniform(0.5, 1))  # noqa: S311
    raise AssertionError("unreachable")


def _status(error: Exception) -> int | None:
    """Return the status of HTTP that a store answered with, if it answered."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code
    found = _STATUS.findall(str(error))
    return int(found[-1]) if found else None


def _passes(error: Exception) -> bool:
    """Return whether a failure may pass: a busy or failing store, a connection that broke or timed out, a torn body."""
    text = str(error)
    if _NO_BUCKET.search(text) or _NO_CREDENTIALS.search(text):
        return False
    status = _status(error)
    if status is not None:
        return status in (408, 429) or status >= 500
    definite = (
        FileNotFoundError,
        FileExistsError,
        ValueError,
        exceptions.AlreadyExistsError,
        exceptions.InvalidPathError,
        exceptions.NotSupportedError,
        exceptions.PermissionDeniedError,
        exceptions.PreconditionError,
        exceptions.UnauthenticatedError,
        exceptions.UnknownConfigurationKeyError,
    )
    return not isinstance(error, definite)


def _explained(url: str, error: Exception) -> OSError:
    """Return the error as an OSError whose text is one line: what is wrong, and what to do."""
    text, status = str(error), _status(error)
    scheme, _, rest = url.partition("://")
    bucket = f"{scheme}://{rest.partition('/')[0]}"
    if _NO_BUCKET.search(text):
        return OSError(errno.ENXIO, f"there is no bucket {bucket}; create it, or correct its name", url)
    if isinstance(error, exceptions.UnauthenticatedError) or status == 401 or _NO_CREDENTIALS.search(text):
        return PermissionError(errno.EACCES, f"no valid credentials for {bucket}; {_ADVICE.get(scheme, '')}", url)
    if isinstance(error, exceptions.PermissionDeniedError) or status == 403:
        return PermissionError(errno.EACCES, f"no permission; the account needs access to {bucket}", url)
    if isinstance(error, FileNotFoundError) or status == 404:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
    if isinstance(error, exceptions.AlreadyExistsError) or status == 412:
        return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), url)
    if isinstance(error, UnicodeError):
        return OSError(errno.EILSEQ, "names in stores are UTF-8", url)
    if isinstance(error, exceptions.InvalidPathError):
        return OSError(errno.EINVAL, "is no name of an object: it has an empty step, or one of dots", url)
    reason = " ".join(text.partition("\n\nDebug source")[0].split())
    return OSError(
        errno.EIO, f"the store failed {_ATTEMPTS} times: {reason[:300]}" if _passes(error) else reason[:300], url
    )
