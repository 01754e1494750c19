import contextlib
import hashlib
import socket
import threading
import time

import pytest
import tensorflow as tf

from tfrecords.command_line import UserError
from tfrecords.dataset import load
from tfrecords.options import ReaderOptions
from trainer import train
from trainer.job_files import read_history
from trainer.training.data_service import check_service, distributed
from trainer.training.training_state import STATE_FILE

service = tf.data.experimental.service


@contextlib.contextmanager
def running(workers):
    dispatcher = service.DispatchServer()
    target = dispatcher.target.removeprefix("grpc://")
    servers = [service.WorkerServer(service.WorkerConfig(dispatcher_address=target)) for _ in range(workers)]
    yield dispatcher.target
    for server in servers:
        server._stop()
    dispatcher._stop()


def digests(batches):
    return [hashlib.sha256(patches.tobytes() + labels.tobytes()).digest() for patches, labels in batches]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_epoch_holds_every_batch_once(tiny, workers):
    options = ReaderOptions(in_graph=True)

    def batches_from(step):
        return load(
            tiny.path, parts=["train"], training=True, seed=3, epoch=5, step=step, batch_size=1, options=options
        )

    expected = digests(batches_from(0).as_numpy_iterator())
    assert len(set(expected)) == len(expected) > 8
    with running(workers) as address:
        check_service(address)
        found = digests(distributed(batches_from, address, steps=len(expected)).as_numpy_iterator())
    assert sorted(found) == sorted(expected)


def test_training_through_a_service(tiny, job_of, tmp_path):
    job = job_of(tiny.path, "--epochs=2")
    log = tmp_path / "log"
    (tmp_path / "job").mkdir()
    (tmp_path / "plain").mkdir()
    with running(2) as address:
        train.train(job, tmp_path / "job", running=train.Running(data_service=address, log_batches=log))
    train.train(job, tmp_path / "plain", running=train.Running(log_batches=tmp_path / "plain.log"))
    # The same batches in each epoch, whatever their order.
    found, expected = (
        sorted(line.split()[::2] for line in path.read_text().splitlines()) for path in (log, tmp_path / "plain.log")
    )
    assert found == expected
    assert len(read_history(tmp_path / "job")["val_loss"]) == 2
    assert not (tmp_path / "job" / STATE_FILE).exists()


@pytest.mark.parametrize("address", ["localhost:5000", "grpc://localhost", "grpc://localhost:5000/x", "grpc://:x", ""])
def test_an_address_of_another_form(address):
    with pytest.raises(UserError, match=f"^--data_service must be grpc://HOST:PORT, got '{address}'$"):
        check_service(address)


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_at_which_no_dispatcher_answers(listens):
    with socket.socket() as silent:
        silent.bind(("localhost", 0))
        if listens:
            silent.listen()
        address = f"grpc://localhost:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(UserError, match=f"^--data_service={address}: no dispatcher answers; start one with python"):
            check_service(address, limit_s=0.5)
        assert time.monotonic() - began < 60


def test_several_hosts_do_not_train_by_a_service():
    with pytest.raises(UserError, match="--data_service would give each of 2 hosts other batches; leave it out"):
        check_service("grpc://localhost:1", hosts=2)


def test_a_service_without_a_worker():
    with running(0) as address, pytest.raises(UserError, match=f"^--data_service={address}: it has no worker; "):
        check_service(address, limit_s=0.5)


def test_a_worker_that_comes_later_is_waited_for():
    with running(0) as address:
        config = service.WorkerConfig(dispatcher_address=address.removeprefix("grpc://"))
        late = service.WorkerServer(config, start=False)
        timer = threading.Timer(0.5, late.start)
        timer.start()
        check_service(address, limit_s=20)
        timer.join()
        late._stop()
