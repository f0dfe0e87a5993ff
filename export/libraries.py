"""Libraries that write to the terminal while they are imported, imported in silence."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def import_keras() -> Any:
    """Import Keras on TensorFlow without the start-up lines that native code writes to standard error."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _silent_stderr():
        import keras
        import tensorflow as tf
    tf.get_logger().setLevel("ERROR")
    return keras


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send what native code writes to standard error nowhere; exceptions still carry their own text."""
    sys.stderr.flush()
    saved = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
