"""A model file to the object that it holds, as the framework's own loader reads it.

The format goes by the suffix, or by the key `format`. Loading must not run code that the file brings along: pickles,
and Keras files with Lambda layers, are loaded only if the caller says that they are trusted.
"""

import json
import logging
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..libraries import import_keras
from .problems import Problem
from .schema import FORMATS, SUFFIXES, Member

LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "keras": ("keras", "tensorflow", "tf2onnx"),
    "savedmodel": ("tensorflow", "tf2onnx"),
    "xgboost": ("xgboost",),
    "lightgbm": ("lightgbm",),
    "skops": ("skops", "sklearn", "skl2onnx"),
    "onnx": ("onnx",),
    "pickle": ("joblib",),
}
"""Format -> what must be installed to load and convert it."""

INSTALL: Mapping[str, str] = {
    "keras": "pip install 'widedeep[export,train]'",
    "savedmodel": "pip install 'widedeep[export,train]'",
    "xgboost": "pip install 'widedeep[export]' xgboost",
    "lightgbm": "pip install 'widedeep[export]' lightgbm",
    "skops": "pip install 'widedeep[export]'",
    "onnx": "pip install 'widedeep[export]'",
    "pickle": "pip install 'widedeep[export]'",
}


def format_of(path: Path, wished: str | None) -> str:
    """Return the format of a model file that is there.

    Raises:
        Problem: there is no such file, or neither its suffix nor `format` tells what it is.
    """
    if not path.exists():
        raise Problem(f"{path} does not exist")
    found = wished or ("savedmodel" if path.is_dir() else SUFFIXES.get(path.suffix.lower()))
    if found is None:
        raise Problem(
            f"the suffix {path.suffix!r} tells no format; expected one of {', '.join(SUFFIXES)}, or the folder of a "
            f"SavedModel, or say format = one of {', '.join(FORMATS)}"
        )
    if path.is_dir() != (found == "savedmodel"):
        raise Problem(f"{path} is {'a folder' if path.is_dir() else 'no folder'}, which {found} does not take")
    return found


def check(path: Path, member: Member, *, trust: bool) -> str:
    """Return the format of a model file after all checks that need no loading.

    Raises:
        Problem: it is not what its format says, or must be trusted first.
    """
    found = format_of(path, member.format)
    if found == "pickle" and not trust:
        raise Problem(
            f"{path.name} is a pickle, and loading one runs whatever code it holds. If you know who wrote it, add "
            f"--trust; better, save the model with skops.io.dump(model, {path.with_suffix('.skops').name!r})"
        )
    if (checked := _CHECKS.get(found)) is not None:
        checked(path, member)
    return found


def load(path: Path, member: Member, *, trust: bool) -> Any:
    """Return the trained model, or the path itself of a file that the converter reads.

    Args:
        path: the model file.
        member: what the export file says about it.
        trust: whether code in the file may run.

    Raises:
        Problem: it cannot be loaded, or must be trusted first.
    """
    found = check(path, member, trust=trust)
    try:
        return _LOADERS[found](path, member, trust)
    except (Problem, ModuleNotFoundError):
        raise
    except Exception as error:  # whatever class the framework chose
        raise Problem(f"{path.name} cannot be loaded as {found}: {_first_line(error)}") from error


def note(model: Any, member: Member) -> str | None:
    """Return what the reader should know of a loaded model, None if there is nothing."""
    if type(model).__module__ == "xgboost.core" and member.rounds is None and (best := model.attr("best_iteration")):
        n_rounds = int(model.num_boosted_rounds())
        if int(best) + 1 < n_rounds:
            return (
                f"a Booster predicts with all its {n_rounds} rounds, and early stopping was best at "
                f'{int(best) + 1}; rounds = "best" keeps only these'
            )
    return None


def _keras(path: Path, _: Member, trust: bool) -> Any:
    keras = import_keras()
    log = logging.getLogger("absl")
    level = log.level
    try:
        log.setLevel(logging.ERROR)  # files without a training configuration are as good here
        return keras.models.load_model(path, compile=True, safe_mode=not trust)
    except Exception as error:
        if "safe_mode" in str(error):
            raise Problem(
                f"{path.name} holds a Lambda layer, and loading one runs the code in the file. If you know who wrote "
                f"it, add --trust; better, use a layer that does the same"
            ) from error
        if "could not be deserialized" in str(error) or "Could not locate" in str(error):
            raise Problem(
                f"{path.name} holds a layer of your own, whose code is not in the file; convert it in Python, where "
                f"the class can be imported: export.convert(model, rows)"
            ) from error
        raise
    finally:
        log.setLevel(level)


def _savedmodel(path: Path, _: Member, __: bool) -> Any:
    import_keras()  # TensorFlow, in silence
    import tensorflow as tf

    return tf.saved_model.load(str(path))


def _xgboost(path: Path, member: Member, _: bool) -> Any:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(path)
    if member.rounds is not None:
        return booster[: _rounds(booster, member.rounds)]
    # What the wrapper saved is predicted with as the wrapper does, which stops where early stopping did.
    kind = json.loads(booster.attr("scikit_learn") or "{}").get("_estimator_type")
    wrappers = {"classifier": xgboost.XGBClassifier, "regressor": xgboost.XGBRegressor}
    if kind not in wrappers:
        return booster
    model = wrappers[kind]()
    model.load_model(path)
    return model


def _rounds(booster: Any, wished: object) -> int:
    n_rounds = int(booster.num_boosted_rounds())
    if wished == "best":
        if (best := booster.attr("best_iteration")) is None:
            raise Problem("rounds: the model has no best round, it was trained without early stopping")
        return int(best) + 1
    if not isinstance(wished, int) or wished > n_rounds:
        raise Problem(f"rounds: the model has {n_rounds} rounds, wished are {wished}")
    return wished


def _lightgbm(path: Path, _: Member, __: bool) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=path)


def _skops(path: Path, member: Member, _: bool) -> Any:
    import skops.io

    return skops.io.load(path, trusted=list(member.trusted))


def _pickle(path: Path, _: Member, __: bool) -> Any:
    import joblib

    return joblib.load(path)


def _check_skops(path: Path, member: Member) -> None:
    import skops.io

    try:
        found = skops.io.get_untrusted_types(file=path)
    except Exception as error:  # whatever class skops or zipfile chose
        raise Problem(f"{path.name} cannot be read as skops: {_first_line(error)}") from error
    if unknown := [name for name in found if name not in member.trusted]:
        wanted = ", ".join(json.dumps(name) for name in sorted({*member.trusted, *unknown}))
        raise Problem(
            f"{path.name} holds types that skops does not trust: {', '.join(unknown)}. If you know them and who wrote "
            f"the file, add trusted = [{wanted}]"
        )


def _check_keras(path: Path, _: Member) -> None:
    if path.suffix.lower() == ".keras" and not zipfile.is_zipfile(path):
        raise Problem(f"{path.name} is no .keras file: expected a zip archive, as model.save('model.keras') writes")


def _check_lightgbm(path: Path, _: Member) -> None:
    with path.open("rb") as file:
        lines = file.readline(16).strip(), file.readline(16).strip()
        if lines[0] != b"tree" or not lines[1].startswith(b"version="):
            raise Problem(
                f"{path.name} is no LightGBM model: expected the lines 'tree' and 'version=...' first, got "
                f"{lines[0].decode(errors='replace')!r} and {lines[1].decode(errors='replace')!r}"
            )


def _check_xgboost(path: Path, _: Member) -> None:
    with path.open("rb") as file:
        if file.read(1) != b"{":
            raise Problem(
                f"{path.name} is no XGBoost model in JSON or UBJSON; a file in the old binary format must be saved "
                f"again: booster.save_model('model.ubj')"
            )


def _check_savedmodel(path: Path, _: Member) -> None:
    if not (path / "saved_model.pb").is_file():
        raise Problem(f"{path} is a folder without saved_model.pb; expected a model file or a SavedModel")


def _first_line(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}"


_CHECKS: Mapping[str, Callable[[Path, Member], None]] = {
    "keras": _check_keras,
    "skops": _check_skops,
    "lightgbm": _check_lightgbm,
    "xgboost": _check_xgboost,
    "savedmodel": _check_savedmodel,
}
_LOADERS: Mapping[str, Callable[[Path, Member, bool], Any]] = {
    "keras": _keras,
    "savedmodel": _savedmodel,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "skops": _skops,
    "onnx": lambda path, _, __: path,
    "pickle": _pickle,
}
