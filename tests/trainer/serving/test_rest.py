import base64
import concurrent.futures
import http.client
import io
import json
import threading

import numpy as np
import pytest
import soundfile

from tfrecords.common.command_line import UserError
from trainer.serving.exported import ExportedModel, ExportFacts
from trainer.serving.rest import RestApp
from trainer.serving.web.app import Limits
from trainer.serving.web.server import Server, take_port

RATE_HZ = 22050


@pytest.fixture(scope="module")
def model(exported):
    return ExportedModel(exported)


@pytest.fixture(scope="module")
def port(model):
    limits = Limits(upload_bytes=8_000_000, duration_s=60, files=8)
    with take_port(0) as listener:
        server = Server(RestApp(model, "genre", limits), limits)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def ask(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if "json" in response.headers["Content-Type"] else content.decode()
    finally:
        connection.close()


def predict(port, **request):
    return ask(port, "POST", "/v1/models/genre:predict", json.dumps(request))


def noise(seconds=3.0, seed=0):
    return np.random.default_rng(seed).normal(scale=0.1, size=round(seconds * RATE_HZ)).astype(np.float32)


def file_of(samples, kind="WAV", **options):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE_HZ, format=kind, **options)
    return file.getvalue()


def test_a_file_gets_the_answer_of_the_job(port, recognizer):
    content = file_of(noise(), "FLAC")
    status, answer = ask(port, "POST", "/v1/models/genre:classify?name=a.flac", content)
    expected = recognizer.recognize(io.BytesIO(content))
    assert status == 200 and answer["path"] == "a.flac" and answer["genre"] == expected.label
    assert list(answer["probabilities"].values()) == pytest.approx(expected.probabilities.tolist(), abs=1e-4)
    assert len(answer["timeline"]) == len(expected.timeline)
    assert answer["confidence"]["set"] == list(expected.label_set)
    assert (answer["confidence"]["sure"], answer["confidence"]["familiar"]) == (
        bool(expected.answer.sure),
        bool(expected.answer.familiar),
    )
    assert answer["confidence"]["distance"] == pytest.approx(expected.distance, rel=1e-3, abs=1e-3)


def test_every_signature_answers_by_inputs_and_by_instances(port, recognizer):
    samples = noise()
    (expected,) = recognizer.classify([recognizer.decode(io.BytesIO(file_of(samples, subtype="FLOAT")))])
    labels = list(expected.labels)
    status, answer = predict(port, inputs={"waveform": samples.tolist()})
    assert status == 200 and answer["outputs"]["labels"] == labels
    assert answer["outputs"]["probabilities"] == pytest.approx(expected.probabilities.tolist(), abs=1e-3)
    status, answer = predict(port, instances=[samples.tolist(), samples[:50_000].tolist()])
    assert status == 200 and len(answer["predictions"]) == 2
    assert list(answer["predictions"][0]["probabilities"]) == labels
    by_batch = predict(port, signature_name="batch", instances=[{"waveforms": samples.tolist()}] * 2)[1]
    assert by_batch["predictions"][1] == by_batch["predictions"][0]
    patches = expected.log_mel[np.newaxis, :80, :, np.newaxis].tolist()
    status, answer = predict(port, signature_name="patches", instances=patches)
    assert status == 200
    found = list(answer["predictions"][0]["probabilities"].values())
    assert found == pytest.approx(expected.timeline[0].tolist(), abs=1e-3)
    wav = {"b64": base64.b64encode(file_of(samples)).decode()}
    status, answer = predict(port, signature_name="wav_bytes", inputs=wav)
    assert status == 200 and answer["outputs"]["probabilities"] == pytest.approx(
        expected.probabilities.tolist(), abs=1e-2
    )
    status, answer = predict(port, signature_name="log_mel", inputs=samples.tolist())
    assert status == 200 and np.shape(answer["outputs"]["log_mel"]) == expected.log_mel.shape


def test_what_answers_and_how(port):
    status, answer = ask(port, "GET", "/v1/models/genre")
    assert status == 200 and answer["model_version_status"][0]["state"] == "AVAILABLE"
    status, answer = ask(port, "GET", "/v1/models/genre/metadata")
    signatures = answer["metadata"]["signature_def"]
    assert status == 200 and set(signatures) == {"serving_default", "batch", "patches", "units", "wav_bytes", "log_mel"}
    assert signatures["patches"]["inputs"]["patches"] == {"dtype": "float32", "shape": [-1, 80, 40, 1]}
    assert ask(port, "GET", "/healthz") == (200, {"status": "ok", "model": "genre"})


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({}, "either"),
        ({"instances": [], "inputs": []}, "either"),
        ({"instances": []}, "at least one"),
        ({"instances": [1.0], "signature_name": "nothing"}, "signature_name must be one of"),
        ({"inputs": {"waveform": "loud"}}, "waveform must be numbers"),
        ({"inputs": {"waveform": [[0.0]]}}, "of shape"),
        ({"inputs": {"waveform": [0.0] * 10}}, "at least"),
        ({"inputs": "no", "signature_name": "wav_bytes"}, "b64"),
    ],
)
def test_a_request_of_another_form_is_refused_in_a_sentence(port, request_, words):
    status, answer = predict(port, **request_)
    assert status == 400 and words in answer["error"]


def test_bad_files_names_and_sizes_are_refused(port):
    status, answer = ask(port, "POST", "/v1/models/genre:classify", b"text")
    assert status == 422 and "not audio" in answer["error"]
    assert ask(port, "POST", "/v1/models/genre:classify", bytes(8_000_001))[0] == 413
    assert ask(port, "POST", "/v1/models/genre:predict", b"{")[0] == 400
    assert ask(port, "GET", "/v1/models/rock")[0] == 404
    assert ask(port, "GET", "/nothing")[0] == 404


def test_many_clients_at_once_get_their_own_answers(port, recognizer):
    contents = [file_of(noise(seed=seed)) for seed in range(6)]
    expected = [recognizer.recognize(io.BytesIO(content)).probabilities for content in contents]
    with concurrent.futures.ThreadPoolExecutor(6) as clients:
        answers = list(clients.map(lambda body: ask(port, "POST", "/v1/models/genre:classify", body), contents))
    for (status, answer), probabilities in zip(answers, expected, strict=True):
        assert status == 200
        assert list(answer["probabilities"].values()) == pytest.approx(probabilities.tolist(), abs=1e-4)
    text = ask(port, "GET", "/metrics")[1]
    assert 'genre_requests_total{method="classify",status="ok"}' in text and "genre_request_seconds_bucket" in text


def test_what_is_no_export_is_refused(tmp_path, exported):
    with pytest.raises(UserError, match="no exported model"):
        ExportedModel(tmp_path)
    facts = json.loads((exported / "export.json").read_text())
    (tmp_path / "export.json").write_text(json.dumps(facts | {"patch_frames": 0}))
    with pytest.raises(UserError, match="not of an export of this version"):
        ExportFacts.load(tmp_path)
    (tmp_path / "export.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="cannot be loaded"):
        ExportedModel(tmp_path)
