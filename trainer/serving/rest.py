"""An exported model over HTTP: TensorFlow Serving's REST form, audio files, health and metrics.

Source of the form: TensorFlow Serving, "RESTful API", tensorflow.org/tfx/serving/api_rest.
"""

import asyncio
import base64
import binascii
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from typing import Any, BinaryIO

import numpy as np
import prometheus_client
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from beam_preprocess.audio import Reject
from trainer.serving import answers
from trainer.serving.exported import ExportedModel
from trainer.serving.web import uploads
from trainer.serving.web.app import Limits
from trainer.serving.web.uploads import Refusal, busy

VERSION = "1"
_DEFAULT = "serving_default"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class RestApp:
    """The ASGI application.

    - GET /v1/models/NAME: whether the model can answer; /v1/models/NAME/metadata: its signatures.
    - POST /v1/models/NAME:predict: {"instances": [...]} or {"inputs": ...}, with "signature_name" where it is not
      serving_default; answers {"predictions": [...]} or {"outputs": ...}. Bytes are {"b64": "..."}.
    - POST /v1/models/NAME:classify: an audio file as the body, of any format that trainer.predict reads; answers as
      trainer.predict --json.
    - GET /healthz; GET /metrics in Prometheus' text format.

    Errors are answered with {"error": "..."} and a status of 400 or above.

    Args:
      model: that answers.
      name: of the model in the addresses.
      limits: of each client and of all together.
    """

    def __init__(self, model: ExportedModel, name: str, limits: Limits) -> None:
        self._model, self._name, self._limits = model, name, limits
        self._places = asyncio.Semaphore(limits.files)
        registry = self._registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "requests", "Requests answered.", ["method", "status"], namespace="genre", registry=registry
        )
        self._seconds = prometheus_client.Histogram(
            "request_seconds", "Seconds to answer.", ["method"], namespace="genre", registry=registry, buckets=_SECONDS
        )
        self._at_once = prometheus_client.Gauge(
            "requests_in_progress", "Requests being answered.", namespace="genre", registry=registry
        )
        address = "/v1/models/{name}"
        self._app = Starlette(
            routes=[
                Route("/healthz", self._health),
                Route("/metrics", self._metrics),
                Route(f"{address}:predict", self._predict, methods=["POST"]),
                Route(f"{address}:classify", self._classify, methods=["POST"]),
                Route(f"{address}/metadata", self._metadata),
                Route(address, self._status),
            ],
            exception_handlers=dict.fromkeys((Refusal, Reject, HTTPException, Exception), _error_response),
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        await self._app(scope, receive, send)

    async def _health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok", "model": self._name})

    async def _metrics(self, request: Request) -> Response:
        return Response(prometheus_client.generate_latest(self._registry), media_type="text/plain; version=0.0.4")

    async def _status(self, request: Request) -> Response:
        self._check_name(request)
        state = {"version": VERSION, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        return JSONResponse({"model_version_status": [state]})

    async def _metadata(self, request: Request) -> Response:
        self._check_name(request)
        specification = {"name": self._name, "signature_name": "", "version": VERSION}
        signatures = {
            name: {
                "inputs": {key: _describe(spec) for key, spec in function.structured_input_signature[1].items()},
                "outputs": {key: _describe(spec) for key, spec in function.structured_outputs.items()},
            }
            for name, function in self._model.signatures.items()
        }
        return JSONResponse({"model_spec": specification, "metadata": {"signature_def": signatures}})

    async def _predict(self, request: Request) -> Response:
        async with self._counted("predict", request):
            async with self._received(request) as file:
                body = await run_in_threadpool(file.read)
            return JSONResponse(await run_in_threadpool(predict, self._model, body))

    async def _classify(self, request: Request) -> Response:
        async with self._counted("classify", request):
            async with self._received(request) as file:
                recognition = await run_in_threadpool(
                    self._model.recognize, file, max_duration_s=self._limits.duration_s
                )
            name = request.query_params.get("name", "")
            return Response(answers.as_json(name, recognition), media_type="application/json")

    @contextlib.asynccontextmanager
    async def _received(self, request: Request) -> AsyncIterator[BinaryIO]:
        length = uploads.declared_bytes(request.headers, self._limits.upload_bytes)
        with uploads.empty_file(length) as file:
            await uploads.receive(request, file, self._limits.body_s)
            yield file

    @contextlib.asynccontextmanager
    async def _counted(self, method: str, request: Request) -> Any:
        """Take one of the places for requests that compute, and measure what the answer took."""
        start, status = time.perf_counter(), "ok"
        try:
            self._check_name(request)
            if self._places.locked():
                raise busy()
            async with self._places:
                with self._at_once.track_inprogress():
                    yield
        except (Refusal, Reject):
            status = "refused"
            raise
        except BaseException:
            status = "failed"
            raise
        finally:
            self._requests.labels(method, status).inc()
            self._seconds.labels(method).observe(time.perf_counter() - start)

    def _check_name(self, request: Request) -> None:
        if (name := request.path_params["name"]) != self._name:
            raise Refusal(HTTPStatus.NOT_FOUND, "not_found", f"The model here is {self._name}, not {name}.")


def predict(model: ExportedModel, body: bytes) -> dict[str, Any]:
    """Answer a request of TensorFlow Serving's form by a signature of the model.

    Args:
      model: that answers.
      body: the JSON object of the request.

    Returns:
      {"predictions": [...]} for instances, with each label's probability by its name where the signature gives
      probabilities; {"outputs": ...} for inputs, the tensors as the signature gives them.

    Raises:
      Refusal: the request is not of that form, or the signature does not take it.
    """
    import tensorflow as tf

    request = _parse(body)
    name = request.get("signature_name", _DEFAULT)
    if not isinstance(name, str) or name not in model.signatures:
        raise _bad_request(f"signature_name must be one of {', '.join(sorted(model.signatures))}; got {name!r}")
    function = model.signatures[name]
    ((key, spec),) = function.structured_input_signature[1].items()
    try:
        if "inputs" in request:
            outputs = function(**{key: _tensor(_named(request["inputs"], key), spec)})
            return {"outputs": {each: _plain(tensor) for each, tensor in outputs.items()}}
        return {"predictions": [_prediction(row) for row in _rows(function, key, spec, request["instances"])]}
    except tf.errors.InvalidArgumentError as error:
        raise _bad_request(_reason(error.message)) from None


def _rows(function: Any, key: str, spec: Any, instances: list[Any]) -> list[dict[str, np.ndarray]]:
    """Return the outputs for each instance; a signature with a batch axis takes them all at once, where they fit."""
    values = [_named(instance, key) for instance in instances]
    if key in ("waveforms", "patches"):
        outputs = {name: tensor.numpy() for name, tensor in function(**{key: _tensor(values, spec)}).items()}
        return [
            {name: value if name == "labels" else value[number] for name, value in outputs.items()}
            for number in range(len(values))
        ]
    calls = (function(**{key: _tensor(value, spec)}) for value in values)
    return [{name: tensor.numpy() for name, tensor in outputs.items()} for outputs in calls]


def _prediction(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    if "probabilities" not in outputs:
        return {name: _plain(value) for name, value in outputs.items()}
    labels = [label.decode("utf-8", "backslashreplace") for label in outputs["labels"].tolist()]
    probabilities = outputs["probabilities"].tolist()
    best = labels[int(np.argmax(probabilities))]
    return {"label": best, "probabilities": dict(zip(labels, probabilities, strict=True))}


def _parse(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _bad_request(f"the body must be JSON ({error})") from None
    if not isinstance(request, dict) or ("instances" in request) == ("inputs" in request):
        raise _bad_request('the body must be a JSON object with either "instances" or "inputs"')
    if "instances" in request and not (isinstance(request["instances"], list) and request["instances"]):
        raise _bad_request('"instances" must be a list of at least one')
    return request


def _named(value: Any, key: str) -> Any:
    """Return the value of the only input; it may be given by its name."""
    return value[key] if isinstance(value, dict) and set(value) == {key} else value


def _tensor(value: Any, spec: Any) -> Any:
    import tensorflow as tf

    try:
        if spec.dtype == tf.string:
            return tf.constant(base64.b64decode(value["b64"], validate=True))
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError, KeyError, OverflowError, binascii.Error):
        kind = '{"b64": "..."}' if spec.dtype == tf.string else "numbers"
        raise _bad_request(f"{spec.name} must be {kind} of shape {spec.shape}") from None
    if not spec.shape.is_compatible_with(array.shape):
        raise _bad_request(f"{spec.name} must be of shape {spec.shape}, got {list(array.shape)}")
    return tf.constant(array)


def _plain(tensor: Any) -> Any:
    values = np.asarray(tensor).tolist()
    if isinstance(values, list) and values and isinstance(values[0], bytes):
        return [value.decode("utf-8", "backslashreplace") for value in values]
    return values


def _describe(spec: Any) -> dict[str, Any]:
    return {"dtype": spec.dtype.name, "shape": [-1 if size is None else size for size in spec.shape]}


def _reason(message: str | None) -> str:
    """The words of an assertion in the graph, without where it stands."""
    text = (message or "invalid input").split("assertion failed: ")[-1]
    return text.splitlines()[0].strip("[]'")


def _bad_request(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message)


async def _error_response(request: Request, error: Exception) -> Response:
    if isinstance(error, Reject):
        error = Refusal.from_reject(error)
    if isinstance(error, Refusal):
        detail = f" ({error.detail})" if error.detail else ""
        return JSONResponse({"error": f"{error.message}{detail}"}, error.status)
    if isinstance(error, HTTPException):
        return JSONResponse({"error": f"There is nothing at {request.method} {request.url.path}."}, error.status_code)
    return JSONResponse({"error": "The server failed; its log says more."}, HTTPStatus.INTERNAL_SERVER_ERROR)
