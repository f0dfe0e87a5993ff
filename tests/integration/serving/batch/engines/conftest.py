"""Clusters for all tests of engines, started once: a Ray of three CPUs and a Spark of two."""

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from engine_work import Work


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """The job, done by the local engine into `local`."""
    work = Work(tmp_path_factory.mktemp("work"))
    work.make()
    work.run("local", "local")
    return work


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for temporary files of the clusters' processes."""
    return tmp_path_factory.mktemp("shelf")


_RAY = """
import sys, ray
quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
size = {"num_cpus": 3, "object_store_memory": 2**29}
print(ray.init(address="local", _node_ip_address="127.0.0.1", **size, **quiet).address_info["address"], flush=True)
sys.stdin.read()
"""
_N_STARTS = 3  # Ray gives its own helpers 15 seconds to start, which no setting changes, and ends where they need more


@pytest.fixture(scope="session")
def ray_cluster(shelf: Path) -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    own = {"TMPDIR": str(shelf), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    own["RAY_TMPDIR"] = "/tmp"  # noqa: S108  # paths of sockets are short
    env = {**os.environ, **own}
    for _ in range(_N_STARTS):
        with subprocess.Popen([sys.executable, "-c", _RAY], env=env, text=True, stdin=PIPE, stdout=PIPE) as cluster:
            assert cluster.stdout is not None
            if address := cluster.stdout.readline().strip():
                with _warnings_ignored():
                    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
                yield ray
                with _warnings_ignored():
                    ray.shutdown()
                cluster.communicate()
                return
    pytest.fail("Ray did not start; what it said is on stderr")


@contextmanager
def _warnings_ignored() -> Iterator[None]:
    """Leave out what clusters are warned of: sockets, processes and files that they leave to the interpreter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="session")
def spark(shelf: Path) -> Iterator[Any]:
    """A Spark session; skips where Java is missing."""
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 or newer")
    with pytest.MonkeyPatch.context() as patch, _warnings_ignored():
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("TMPDIR", str(shelf))
        builder = sql.SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", "false")
        quiet = builder.config("spark.log.level", "ERROR").config("spark.ui.showConsoleProgress", "false")
        session = quiet.config("spark.driver.host", "127.0.0.1").getOrCreate()
    yield session
    with _warnings_ignored():
        session.stop()
