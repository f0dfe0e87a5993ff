"""In what a job differs from the one that began an output, in words."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..spec import InputFile, JobSpec

_NAMED = 3
"""Files named of each kind of change; the others are counted."""

_ELSEWHERE = {"bundle", "output"}
"""Where bundle and output lie: they may have moved since, what is in them is compared."""

_IDENTITY = {"name", "version", "digest", "server"}
_INPUT = {"input", "input_digest"}


def describe_changes(
    before: JobSpec, now: JobSpec, files_before: Iterable[InputFile], files_now: Iterable[InputFile]
) -> list[str]:
    """Return the differences that change rows of the output, each as a sentence; none where there are none.

    Args:
        before: the job that began the output.
        now: the job that is wanted.
        files_before: files of the input then; read only where they differ.
        files_now: files of the input now.
    """
    then_plain, now_plain = before.to_json(), now.to_json()
    changes = []
    if any(then_plain[name] != now_plain[name] for name in _IDENTITY):
        changes.append(f"bundle: was {_bundle(before)}, now {_bundle(now)}")
    changes += [
        f"{name}: was {_words(then)}, now {_words(now_plain[name])}"
        for name, then in then_plain.items()
        if name not in _IDENTITY | _INPUT | _ELSEWHERE and then != now_plain[name]
    ]
    changes += _input_changes(before, now)
    if before.input_digest != now.input_digest:
        changes += describe_files(files_before, files_now)
    return changes


def describe_files(before: Iterable[InputFile], now: Iterable[InputFile]) -> list[str]:
    """Return what happened to the files of an input, a sentence for each kind of change."""
    then = {file.path: file for file in before}
    came = {file.path: file for file in now}
    kinds = {
        "removed": [path for path in then if path not in came],
        "added": [path for path in came if path not in then],
        "changed": [_file(then[path], came[path]) for path in then if path in came and then[path] != came[path]],
    }
    told = [
        f"input: {_some(paths)} {'was' if len(paths) == 1 else 'were'} {kind}" for kind, paths in kinds.items() if paths
    ]
    return told or ["input: its files come in another order"]


def _input_changes(before: JobSpec, now: JobSpec) -> list[str]:
    then_plain, now_plain = before.input.to_json(), now.input.to_json()
    changes = [
        f"input {name}: was {_words(then)}, now {_words(now_plain[name])}"
        for name, then in then_plain.items()
        if name not in {"schema", "columns"} and then != now_plain[name]
    ]
    then, came = then_plain["columns"], now_plain["columns"]
    changes += [
        f"input column {name}: was {then.get(name, 'not there')}, now {came.get(name, 'not there')}"
        for name in {**then, **came}
        if then.get(name) != came.get(name)
    ]
    if then == came and not before.input.schema.equals(now.input.schema):
        changes.append("input: its columns come in another order, or allow nulls where they did not")
    return changes


def _bundle(spec: JobSpec) -> str:
    where = ", scored by a server" if spec.server else ""
    return f"{spec.name} version {spec.version} with digest {spec.digest[:12]}{where}"


def _file(then: InputFile, now: InputFile) -> str:
    if then.size != now.size:
        return f"{then.path} (from {then.size} to {now.size} bytes)"
    return f"{then.path} (written again)"


def _some(paths: Sequence[str]) -> str:
    named = ", ".join(paths[:_NAMED])
    return named if len(paths) <= _NAMED else f"{named} and {len(paths) - _NAMED} more files"


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return _words([f"{key}={_words(item)}" for key, item in value.items()])
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return "none" if value is None or value == "" else str(value)
