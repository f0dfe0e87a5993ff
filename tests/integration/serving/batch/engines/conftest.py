"""Clusters for all tests of engines, started once: a Ray of three CPUs and a Spark of two."""

import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
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


@pytest.fixture(scope="session")
def ray_cluster(shelf: Path) -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own making: processes and files that it leaves to the interpreter
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", "/tmp")  # noqa: S108  # paths of sockets are short
        patch.setenv("TMPDIR", str(shelf))
        ray.init(address="local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.shutdown()


@pytest.fixture(scope="session")
def spark(shelf: Path) -> Iterator[Any]:
    """A Spark session; skips where Java is missing."""
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 or newer")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Spark's own making: sockets that it leaves to the interpreter
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("TMPDIR", str(shelf))
        builder = sql.SparkSession.builder.master("local[2,4]").config("spark.ui.enabled", "false")
        quiet = builder.config("spark.log.level", "ERROR").config("spark.ui.showConsoleProgress", "false")
        session = quiet.config("spark.driver.host", "127.0.0.1").getOrCreate()
    yield session
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session.stop()
