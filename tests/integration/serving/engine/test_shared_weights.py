"""Large weights lie in memory once for all processes, and sessions that share them answer to the bit as others do."""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from large_graphs import CHANNELS, IMAGE, WIDTH, attribute_graph, conv_graph, dense_graph
from widedeep.serving.contract.errors import BundleError
from widedeep.serving.engine.cache import Cache, Key, sha256
from widedeep.serving.engine.runtime import GraphOptions, machine_key, open_session, ort

Float32Array = npt.NDArray[np.float32]
MB = 1 << 20


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.open(tmp_path / "cache")


@pytest.fixture
def dense(tmp_path: Path) -> Path:
    path = tmp_path / "dense.onnx"
    path.write_bytes(dense_graph())
    return path


def rows(n_rows: int, *shape: int) -> Float32Array:
    return np.random.default_rng(n_rows).normal(size=(n_rows, *shape)).astype(np.float32)


def scores(session: ort.InferenceSession, x: Float32Array) -> Float32Array:
    answer: Float32Array = session.run(None, {"x": x})[0]
    return answer


def entries(cache: Cache) -> list[Path]:
    assert cache.folder is not None
    return sorted(cache.folder.glob("graph-*"))


def mapped_bytes(pid: int | str, folder: Path) -> dict[str, int]:
    """Return Rss, Pss and so on of what a process has mapped from files below a folder."""
    sums = {"Rss": 0, "Pss": 0, "Private_Dirty": 0}
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, rest = line.partition(":")
        if "-" in line.split(" ", 1)[0]:
            inside = str(folder) in line
        elif inside and key in sums:
            sums[key] += int(rest.split()[0]) * 1024
    return sums


def anonymous_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Anonymous:"))


@contextmanager
def session_process(path: Path, cache: Path | str) -> Iterator[int]:
    """A process that has opened the graph and run it; its id."""
    code = f"""
import numpy as np
from widedeep.serving.engine.cache import Cache
from widedeep.serving.engine.runtime import open_session
from pathlib import Path
session = open_session(Path({str(path)!r}), cache=Cache.open({str(cache)!r}))
session.run(None, {{"x": np.ones((4, {WIDTH}), np.float32)}})
print("ready", flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


def test_two_processes_have_the_weights_in_memory_once(dense: Path, cache: Cache) -> None:
    assert cache.folder is not None
    dense.write_bytes(dense_graph(n_layers=4))
    with session_process(dense, cache.folder) as one, session_process(dense, cache.folder) as other:
        for pid in (one, other):
            mapped = mapped_bytes(pid, cache.folder)
            assert mapped["Rss"] >= 15 * MB
            assert mapped["Pss"] <= 0.6 * mapped["Rss"]
            assert mapped["Private_Dirty"] == 0
        shared = anonymous_bytes(other)
    with session_process(dense, "") as alone:
        assert mapped_bytes(alone, cache.folder)["Rss"] == 0
        assert anonymous_bytes(alone) >= shared + 8 * MB


@pytest.mark.parametrize("options", [GraphOptions(), GraphOptions(threads=2), GraphOptions(optimization="basic")])
@pytest.mark.parametrize("kind", ["dense", "conv"])
def test_answers_are_the_same_to_the_bit(
    kind: str, options: GraphOptions, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.serving.engine.runtime.SHARED_BYTES", 1 << 10)
    path = tmp_path / "graph.onnx"
    path.write_bytes(dense_graph(n_layers=2) if kind == "dense" else conv_graph(n_layers=2))
    ordinary = open_session(path, graph=options)
    sharing = [open_session(path, graph=options, cache=cache) for _ in range(2)]
    assert len(entries(cache)) == 1
    for n_rows in (1, 2, 7, 64):
        x = rows(n_rows, *(WIDTH,) if kind == "dense" else IMAGE)
        for session in sharing:
            np.testing.assert_array_equal(scores(session, x), scores(ordinary, x))


def test_each_way_of_optimising_has_its_own_entry(dense: Path, cache: Cache) -> None:
    for options in (GraphOptions(), GraphOptions(threads=2), GraphOptions(optimization="extended")):
        open_session(dense, graph=options, cache=cache)
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("damage", ["bit", "short", "gone"])
@pytest.mark.parametrize("name", ["weights", "model.onnx"])
def test_a_damaged_file_is_not_run_but_written_again(dense: Path, cache: Cache, name: str, damage: str) -> None:
    expected = scores(open_session(dense, cache=cache), rows(3, WIDTH))
    file = entries(cache)[0] / name
    sound = file.read_bytes()
    file.unlink()
    if damage == "bit":
        file.write_bytes(sound[: len(sound) // 2] + bytes([sound[len(sound) // 2] ^ 1]) + sound[len(sound) // 2 + 1 :])
    elif damage == "short":
        file.write_bytes(sound[:-100])
    np.testing.assert_array_equal(scores(open_session(dense, cache=cache), rows(3, WIDTH)), expected)
    assert file.read_bytes() == sound


def test_an_entry_that_does_not_load_is_passed_over(
    dense: Path, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    key = Key("graph", sha256(dense), machine_key(), "all")
    cache.obtain(key, lambda folder: (folder / "model.onnx").write_bytes(b"no graph"))
    session = open_session(dense, cache=cache)
    np.testing.assert_array_equal(scores(session, rows(3, WIDTH)), scores(open_session(dense), rows(3, WIDTH)))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "dense.onnx: its weights are not shared" in caplog.text


def test_a_cache_that_cannot_be_written_any_more_is_done_without(
    dense: Path, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    assert cache.folder is not None
    cache.folder.rmdir()
    cache.folder.write_text("a file is in the way")
    session = open_session(dense, cache=cache)
    np.testing.assert_array_equal(scores(session, rows(3, WIDTH)), scores(open_session(dense), rows(3, WIDTH)))
    assert len(caplog.records) == 1


def test_a_session_outlives_its_entry(dense: Path, cache: Cache) -> None:
    session = open_session(dense, cache=cache)
    expected = scores(open_session(dense), rows(3, WIDTH))
    entry = entries(cache)[0]
    for file in entry.iterdir():
        file.unlink()
    entry.rmdir()
    np.testing.assert_array_equal(scores(session, rows(3, WIDTH)), expected)


def test_another_graph_under_the_same_path_is_another_entry(dense: Path, cache: Cache) -> None:
    first = scores(open_session(dense, cache=cache), rows(3, WIDTH))
    dense.write_bytes(dense_graph(seed=1))
    second = scores(open_session(dense, cache=cache), rows(3, WIDTH))
    assert not np.array_equal(first, second)
    assert len(entries(cache)) == 2


@pytest.mark.parametrize("graph", [conv_graph, attribute_graph])
def test_a_graph_without_large_weights_is_left_alone(graph: Callable[[], bytes], cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "graph.onnx"
    path.write_bytes(graph())
    open_session(path, cache=cache)
    assert not entries(cache)


def test_a_graph_that_is_none_is_refused_with_a_cache_as_without(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "none.onnx"
    path.write_bytes(bytes(2 * MB))
    with pytest.raises(BundleError, match=r"none\.onnx"):
        open_session(path, cache=cache)
    with pytest.raises(BundleError, match=r"gone\.onnx"):
        open_session(tmp_path / "gone.onnx", cache=cache)
    assert not entries(cache)


def test_the_test_graphs_are_as_large_as_they_say() -> None:
    assert len(dense_graph(n_layers=4)) >= 16 * MB
    assert len(conv_graph()) == pytest.approx(6 * CHANNELS * CHANNELS * 9 * 4, rel=0.1)
