import subprocess
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tfrecords.command_line import UserError
from tools import flink_cluster
from tools.flink_cluster import FlinkCluster


def test_the_job_server_is_made_for_this_flink():
    pom = ElementTree.parse(flink_cluster.POM)
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    (artifact,) = pom.findall(".//m:dependency/m:artifactId", space)
    assert artifact.text == f"beam-runners-flink-{flink_cluster.FLINK_VERSION.rpartition('.')[0]}"


def test_an_install_that_fails_leaves_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(subprocess.CalledProcessError):
        flink_cluster.install(tmp_path / "engines" / "flink")
    assert list((tmp_path / "engines").iterdir()) == []


def test_an_install_from_a_folder_of_its_own_is_whole(tmp_path, monkeypatch):
    def run(command, **keywords):
        if command[0] == "mvn":
            (target,) = [word.partition("=")[2] for word in command if word.startswith("-DoutputDirectory=")]
            # Maven's idea of a path that is not whole is its own.
            Path("/somewhere", target).mkdir()
        else:
            (target,) = [word.partition("=")[2] for word in command if word.startswith("--dest=")]
            (tmp_path / "deps" / "lib").mkdir(parents=True)
            with tarfile.open(f"{target}/flink.tar.gz", "w:gz") as tar:
                tar.add(tmp_path / "deps", "flink/deps")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    flink_cluster.install(Path("engines/flink"))
    assert {path.name for path in (tmp_path / "engines" / "flink").iterdir()} >= {"lib", "job_server"}


def test_free_ports_differ():
    ports = flink_cluster.free_ports(20)
    assert len(set(ports)) == 20


def test_a_process_that_ends_is_named_at_once(tmp_path, monkeypatch):
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **keywords: popen(["false"], **keywords))
    cluster = FlinkCluster(tmp_path, tmp_path / "work", task_managers=1, slots=1)
    with pytest.raises(UserError, match=r"Flink's job_manager ended; see .*work/job_manager\.log"), cluster:
        pass


def test_a_cluster_that_does_not_start_is_ended(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(flink_cluster, "_START_LIMIT_S", 0.5)
    popen = subprocess.Popen

    def sleeping(command, **keywords):
        started.append(popen(["sleep", "60"], **keywords))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", sleeping)
    cluster = FlinkCluster(tmp_path, tmp_path / "work", task_managers=2, slots=2)
    with pytest.raises(UserError, match="did not start within"), cluster:
        pass
    assert len(started) == 4
    assert all(process.returncode is not None for process in started)
