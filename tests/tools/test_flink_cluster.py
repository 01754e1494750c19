import subprocess
import sys
from xml.etree import ElementTree

import pytest

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


def test_free_ports_differ():
    ports = flink_cluster.free_ports(20)
    assert len(set(ports)) == 20


def test_a_cluster_that_does_not_start_is_ended(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(flink_cluster, "_START_LIMIT_S", 0.5)
    popen = subprocess.Popen

    def sleeping(command, **keywords):
        started.append(popen(["sleep", "60"], **keywords))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", sleeping)
    cluster = FlinkCluster(tmp_path, tmp_path / "work", task_managers=2, slots=2)
    with pytest.raises(TimeoutError, match="did not start within"), cluster:
        pass
    assert len(started) == 4
    assert all(process.returncode is not None for process in started)
