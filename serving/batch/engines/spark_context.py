"""Spark as this process has it or starts it, and what a job leaves there: the bundle's files, and the latest worker."""

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark import SparkConf, SparkContext, SparkFiles
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from ...contract.errors import ConfigurationError
from ...engine.pool import available_cores
from .options import EngineOptions
from .process import ProcessWorker
from .shipping import BundleAddress


@dataclass(frozen=True, slots=True)
class SentBundle:
    """A bundle among the files that Spark hands to its executors.

    Attributes:
        names: file -> the name that Spark knows it by.
    """

    names: dict[str, str]

    @classmethod
    def add(cls, context: SparkContext, address: BundleAddress) -> "SentBundle":
        """Add a bundle of this machine, for as long as the Spark application runs; once is enough."""
        key = (context.applicationId, address.digest)
        if key not in _ADDED:
            _ADDED[key] = cls._added(context, address)
        return _ADDED[key]

    @classmethod
    def _added(cls, context: SparkContext, address: BundleAddress) -> "SentBundle":
        folder = Path(tempfile.mkdtemp(prefix="widedeep-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        names = {}
        for i, (name, file) in enumerate(address.files()):
            names[name] = f"widedeep-{address.digest}-{i}"  # Spark knows files by their names alone
            place = folder / names[name]
            try:
                place.hardlink_to(file)
            except OSError:
                shutil.copyfile(file, place)
            context.addFile(str(place))
        return cls(names)

    def write(self, folder: Path) -> None:
        """Write the bundle's files; on an executor."""
        for name, spark_name in self.names.items():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(SparkFiles.get(spark_name), folder / name)


_ADDED: dict[tuple[str, str], SentBundle] = {}
"""What was added, by application and digest: Spark takes a name once."""


@contextmanager
def opened_context(options: EngineOptions) -> Iterator[SparkContext]:
    """Have a Spark, one that is there or one that ends with this.

    Raises:
        ConfigurationError: it does not start.
    """
    if (context := SparkContext._active_spark_context) is not None:
        yield context
        return
    if not _has_java():
        raise ConfigurationError("Spark needs Java 17 or newer, and none was found: neither JAVA_HOME nor PATH has it")
    python = os.environ.get("PYSPARK_PYTHON")
    try:
        session = _start(options)
    except (PySparkException, Py4JError, OSError) as error:
        raise ConfigurationError(f"Spark does not start (it needs Java 17 or newer): {reason_of(error)}") from error
    finally:
        if python is None:
            os.environ.pop("PYSPARK_PYTHON", None)
    try:
        yield session.sparkContext
    finally:
        session.stop()


_HERE = "local[*]"
"""The master where none is configured."""


def _start(options: EngineOptions) -> SparkSession:
    """Return a new session; what Spark's configuration says goes before what the options say."""
    SparkContext._ensure_initialized()  # starts the JVM, which alone knows how Spark is configured
    configured = SparkConf()
    threads = options.threads_per_worker or 1
    master = options.address or configured.get("spark.master")
    wanted = {"spark.app.name": "widedeep score", "spark.task.cpus": threads}
    wanted["spark.task.maxFailures"] = options.retries + 1
    if options.n_workers:
        wanted |= {"spark.executor.instances": options.n_workers, "spark.executor.cores": threads}
        wanted["spark.cores.max"] = options.n_workers * threads
    if master in {None, _HERE}:
        cores = options.n_workers * threads or available_cores()
        master = f"local[{cores},{options.retries + 1}]"
        wanted |= {"spark.ui.enabled": "false", "spark.driver.host": "127.0.0.1"}
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    settings = {name: value for name, value in wanted.items() if not configured.contains(name)}
    if not options.verbose:
        settings |= {"spark.log.level": "ERROR", "spark.ui.showConsoleProgress": "false"}
    builder = SparkSession.builder.master(str(master))
    for name, value in settings.items():
        builder = builder.config(name, str(value))
    return builder.getOrCreate()


def _has_java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return (Path(home) / "bin" / "java").exists() if home else shutil.which("java") is not None


_LAST: dict[Any, Any] = {}
"""What this Python worker runs, by its key: the latest alone, since processes outlive jobs."""


def kept(key: Any, make: Callable[[], Any]) -> Any:
    """Return what this Python worker keeps under a key, made the first time."""
    if key not in _LAST:
        for before in _LAST.values():
            if isinstance(before, ProcessWorker):
                before.close()
        _LAST.clear()
        _LAST[key] = make()
    return _LAST[key]


def is_one_machine(context: SparkContext) -> bool:
    """Return whether all runs in this machine's processes, which see its files."""
    return str(context.master).split("[")[0] == "local"


def reason_of(error: BaseException) -> str:
    """Return what a failure of Spark's says, without the stack of the JVM."""
    java = getattr(error, "java_exception", None)
    text = str(error) if java is None else str(java.getMessage())
    return text.split("Driver stacktrace:")[0].strip()
