"""Whole jobs on one machine: files in, parts out, and what happens when a job is cut off or asked for differently."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_ensembles import text_labels, two_classes
from table_rows import column, parts_of, scored, table_of
from widedeep.serving.batch.engines.options import EngineOptions
from widedeep.serving.batch.job import MaxRejects, run
from widedeep.serving.batch.planning import Wishes
from widedeep.serving.batch.progress import Silent
from widedeep.serving.batch.store.record import Totals
from widedeep.serving.client.tables import bind
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.errors import ConfigurationError, ExecutionError, InvalidInput
from widedeep.serving.engine.ensemble import Ensemble

N_ROWS = 3000


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("animals") / "3"
    text_labels(path)
    return path


@pytest.fixture(scope="module")
def inputs(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three Parquet files of several row groups."""
    folder = tmp_path_factory.mktemp("inputs")
    table = table_of(read_bundle(bundle).inputs, N_ROWS)
    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), folder / f"file{i}.parquet", row_group_size=170)
    return folder


@pytest.fixture
def wishes(bundle: Path, inputs: Path, tmp_path: Path) -> Wishes:
    return Wishes(str(bundle), str(inputs), str(tmp_path / "out"), keep=("id",), part_bytes=20_000)


def test_a_job_scores_every_row_in_order_as_the_server_would(wishes: Wishes, bundle: Path, tmp_path: Path) -> None:
    summary = run(replace(wishes, outputs=("probabilities", "label", "scores/wide")))
    assert (summary.n_in, summary.n_scored, summary.n_rejected) == (N_ROWS, N_ROWS, 0)
    assert summary.n_parts > 3
    answer = scored(tmp_path / "out")
    assert column(answer, "id").tolist() == [f"row{i}" for i in range(N_ROWS)]
    ensemble = Ensemble.load(bundle)
    arrays, _ = bind(ensemble.bundle.inputs, table_of(ensemble.bundle.inputs, N_ROWS))
    expected = ensemble.predict(arrays, ["probabilities", "label", "scores/wide"])
    np.testing.assert_allclose(column(answer, "probabilities"), expected["probabilities"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(column(answer, "scores/wide"), expected["scores/wide"], rtol=0, atol=1e-6)
    assert column(answer, "label").tolist() == expected["label"][:, 0].tolist()


def test_the_output_is_a_data_set_and_its_manifest_accounts_for_every_range(wishes: Wishes, tmp_path: Path) -> None:
    summary = run(wishes)
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert [path for path in (tmp_path / "out").iterdir() if not path.name.startswith(("part-", "_"))] == []
    assert (manifest["n_in"], manifest["n_scored"], manifest["n_rejected"]) == (N_ROWS, N_ROWS, 0)
    ranges = [part for task in manifest["results"] for part in task["ranges"]]
    assert sorted({source for source, _, _ in ranges}) == ["file0.parquet", "file1.parquet", "file2.parquet"]
    assert sum(task["n_in"] for task in manifest["results"]) == N_ROWS
    assert manifest["bundle"] == dict(summary.bundle) | {"version": "3"}
    metadata = pq.read_schema(next((tmp_path / "out").glob("part-*"))).metadata
    assert metadata[b"widedeep.digest"].decode() == summary.bundle["digest"]


def test_the_same_command_twice_does_nothing_the_second_time(wishes: Wishes, tmp_path: Path) -> None:
    first = run(wishes)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != "_lock"}
    second = run(wishes)
    assert second.n_rows_now == 0
    assert (second.n_in, second.n_parts) == (first.n_in, first.n_parts)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.name != "_lock"} == before


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_parts_are_the_same_bytes_with_any_number_of_threads(wishes: Wishes, tmp_path: Path, n_threads: int) -> None:
    run(wishes)
    run(replace(wishes, output=str(tmp_path / "other")), options=EngineOptions(threads_per_worker=n_threads))
    assert parts_of(tmp_path / "other") == parts_of(tmp_path / "out")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keep": ()}, r"keep: was id, now none"),
        ({"outputs": ("label",)}, r"outputs: was probabilities, label, now label"),
        ({"prefix": "p_"}, r"prefix: was none, now p_"),
        ({"bundle_columns": True}, r"bundle_columns: was False, now True"),
        ({"output_format": "csv"}, r"output_format: was parquet, now csv"),
    ],
)
def test_other_options_are_refused_an_output_that_was_begun(wishes: Wishes, changed: dict, message: str) -> None:
    run(wishes)
    with pytest.raises(ConfigurationError, match=message):
        run(replace(wishes, **changed))


def test_another_bundle_is_refused_an_output_that_was_begun(wishes: Wishes, tmp_path: Path) -> None:
    run(wishes)
    other = two_classes(tmp_path / "other")
    with pytest.raises(
        ConfigurationError, match=rf"bundle: was test version 3.*now test version 1.*{other.digest[:12]}"
    ):
        run(replace(wishes, bundle=str(tmp_path / "other")))


def test_an_input_that_has_changed_is_refused_and_the_message_names_the_file(
    wishes: Wishes, inputs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for path in inputs.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    mine = replace(wishes, input=str(folder))
    run(mine)
    table = pq.read_table(folder / "file1.parquet")
    pq.write_table(table.slice(1), folder / "file1.parquet")
    (folder / "file2.parquet").rename(folder / "file9.parquet")
    with pytest.raises(
        ConfigurationError, match=r"file2.parquet was removed\n.*file9.parquet was added\n.*file1.parquet"
    ):
        run(mine)


def test_two_jobs_on_one_output_at_once_are_refused(wishes: Wishes, tmp_path: Path) -> None:
    from widedeep.serving.batch.store.store import Store

    with Store.open(wishes.output), pytest.raises(ConfigurationError, match=rf"process {os.getpid()} on"):
        run(wishes)
    assert run(wishes).n_scored == N_ROWS


def test_an_input_that_does_not_fit_the_bundle_is_refused_before_anything_is_written(
    wishes: Wishes, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"id": ["a"], "a": [1.0], "c": [2.0]}), tmp_path / "bad.parquet")
    with pytest.raises(InvalidInput, match=r"input 'image': expected a column 'image', got 'id', 'a', 'c'"):
        run(replace(wishes, input=str(tmp_path / "bad.parquet")))
    assert [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith("part")] == []


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            pa.array(["1"]),
            r"input 'tabular', column 'b': expected FP32, alone or in lists, or bytes, the file has string",
        ),
        (pa.array([{"x": 1.0}]), r"the file has struct<x: double>"),
        (pa.array([0], pa.timestamp("s")), r"the file has timestamp\[ms\]"),
    ],
)
def test_a_column_of_a_type_that_no_row_could_be_bound_from_is_refused_at_once(
    wishes: Wishes, bundle: Path, tmp_path: Path, column: pa.Array, message: str
) -> None:
    table = table_of(read_bundle(bundle).inputs, 1)
    pq.write_table(table.set_column(table.schema.get_field_index("b"), "b", column), tmp_path / "bad.parquet")
    with pytest.raises(InvalidInput, match=message):
        run(replace(wishes, input=str(tmp_path / "bad.parquet")))


def test_whole_numbers_in_the_first_file_and_fractions_or_nulls_in_the_next_are_one_input(
    wishes: Wishes, bundle: Path, tmp_path: Path
) -> None:
    table = table_of(read_bundle(bundle).inputs, 30)
    place = table.schema.get_field_index("a")
    (tmp_path / "in").mkdir()
    columns = [pa.array([1] * 10), table.column("a").slice(10, 10), pa.array([7] * 10, pa.int8())]
    for i, values in enumerate(columns):
        rows = table.slice(10 * i, 10).set_column(place, "a", values)
        pq.write_table(rows, tmp_path / "in" / f"{i}.parquet")
    assert run(replace(wishes, input=str(tmp_path / "in"))).n_scored == 30
    whole = [value for values in columns for value in values.to_pylist()]
    pq.write_table(table.set_column(place, "a", pa.array(whole, pa.float32())), tmp_path / "whole.parquet")
    run(replace(wishes, input=str(tmp_path / "whole.parquet"), output=str(tmp_path / "other")))
    assert scored(tmp_path / "out").equals(scored(tmp_path / "other"))


def test_a_tensor_whose_axes_are_permuted_is_bound_and_kept(wishes: Wishes, bundle: Path, tmp_path: Path) -> None:
    table = table_of(read_bundle(bundle).inputs, 6)
    images = column(table, "image").astype(np.float32).reshape(-1, 2, 4)
    kind = pa.fixed_shape_tensor(pa.float32(), (4, 2), permutation=[1, 0])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(images.transpose(0, 2, 1).reshape(-1)), 8)
    tensors = pa.ExtensionArray.from_storage(kind, storage)
    place = table.schema.get_field_index("image")
    pq.write_table(table.set_column(place, "image", tensors), tmp_path / "rows.parquet")
    run(replace(wishes, input=str(tmp_path / "rows.parquet"), keep=("image",)))
    pq.write_table(table, tmp_path / "plain.parquet")
    run(replace(wishes, input=str(tmp_path / "plain.parquet"), output=str(tmp_path / "other")))
    answer = scored(tmp_path / "out")
    assert answer.column("probabilities").equals(scored(tmp_path / "other").column("probabilities"))
    assert answer.schema.field("image").type == kind


def test_a_label_of_which_no_row_could_be_judged_is_refused_before_the_job_begins(
    wishes: Wishes, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=r"column 'image' holds .*; expected one label a row"):
        run(replace(wishes, label="image"))
    assert not (tmp_path / "out" / "_job.json").exists()


class Meanwhile(Silent):
    """Does something once the job has begun."""

    def __init__(self, change: Callable[[], object]) -> None:
        self._change = change

    def __enter__(self) -> Self:
        self._change()
        return self


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder, table: pq.write_table(table, folder / "b.parquet"), r"b.parquet was added"),
        (
            lambda folder, table: pq.write_table(table.slice(1), folder / "a.parquet"),
            r"a.parquet \(from \d+ to \d+ bytes\)",
        ),
    ],
)
def test_an_input_that_changes_while_it_is_read_makes_no_complete_job(
    wishes: Wishes, bundle: Path, tmp_path: Path, change: Callable[[Path, pa.Table], None], message: str
) -> None:
    (tmp_path / "in").mkdir()
    table = table_of(read_bundle(bundle).inputs, 50)
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    mine = replace(wishes, input=str(tmp_path / "in"))
    with pytest.raises(InvalidInput, match=message):
        run(mine, progress=Meanwhile(lambda: change(tmp_path / "in", table)))
    assert not (tmp_path / "out" / "_manifest.json").exists()
    with pytest.raises(ConfigurationError, match=message):
        run(mine)


@pytest.mark.parametrize("changed", [{"input": ""}, {"bundle": ""}, {"outputs": ()}])
def test_a_wish_that_is_empty_is_refused(wishes: Wishes, changed: dict) -> None:
    with pytest.raises(ConfigurationError, match=r"is empty|no outputs"):
        run(replace(wishes, **changed))


def command(wishes: Wishes, *more: str) -> list[str]:
    flags = ["--keep", "id", "--part-mib", str(wishes.part_bytes / (1 << 20)), *more]
    return [sys.executable, "-m", "widedeep.serving.cli", "score", wishes.bundle, wishes.input, wishes.output, *flags]


def test_a_job_that_is_killed_three_times_ends_with_the_bytes_of_one_that_was_not(bundle: Path, tmp_path: Path) -> None:
    """SIGKILL at three moments; every time the job goes on where it was and leaves what is finished alone."""
    table = table_of(read_bundle(bundle).inputs, 60_000)
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=400, compression="none")
    size = (tmp_path / "rows.parquet").stat().st_size
    wishes = Wishes(
        str(bundle), str(tmp_path / "rows.parquet"), str(tmp_path / "whole"), keep=("id",), part_bytes=size // 149
    )
    assert run(wishes).n_scored == 60_000
    killed = replace(wishes, output=str(tmp_path / "killed"))
    finished: dict[Path, int] = {}
    for kill in range(3):
        process = subprocess.Popen(command(killed), start_new_session=True, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "killed").glob("part-*"))) < 12 * (kill + 1):
            assert process.poll() is None, "the job ended before it could be killed"
            assert time.monotonic() < deadline
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not is_alive(process.pid), "the job left a process behind"
        for path, written in finished.items():
            assert path.stat().st_mtime_ns == written, "a finished part was written again"
        finished = {tmp_path / "killed" / name: written for name, written in on_record(tmp_path / "killed").items()}
        assert finished
    last = subprocess.run([*command(killed, "--json")], check=True, capture_output=True, text=True)
    end = json.loads(last.stdout.splitlines()[-1])
    assert (end["event"], end["n_in"], end["n_scored"], end["n_rejected"]) == ("end", 60_000, 60_000, 0)
    assert 0 < end["n_rows_now"] < 60_000
    assert parts_of(tmp_path / "killed") == parts_of(tmp_path / "whole")


def on_record(output: Path) -> dict[str, int]:
    """Return part -> time of its last change, for the parts whose tasks are on record."""
    lines = [line for path in (output / "_done").glob("*.jsonl") for line in path.read_text().splitlines()]
    return {name: (output / name).stat().st_mtime_ns for line in lines for name in json.loads(line)["parts"]}


def is_alive(session: int) -> bool:
    """Return whether any process of a session is left."""
    return any(
        line.split()[0] == str(session)
        for line in subprocess.check_output(["ps", "-eo", "sid="], text=True).splitlines()
        if line.strip()
    )


def spoilt(bundle: Path, path: Path, bad: list[int]) -> None:
    table = table_of(read_bundle(bundle).inputs, N_ROWS)
    values = table.column("b").to_pylist()
    for row in bad:
        values[row] = None
    place = table.schema.get_field_index("b")
    pq.write_table(table.set_column(place, "b", pa.array(values, pa.float32())), path, row_group_size=300)


def test_bad_rows_go_to_the_reject_file_with_source_row_reason_and_values(
    wishes: Wishes, bundle: Path, tmp_path: Path
) -> None:
    bad = [0, 7, 299, 300, 1555, N_ROWS - 1]
    spoilt(bundle, tmp_path / "rows.parquet", bad)
    summary = run(replace(wishes, input=str(tmp_path / "rows.parquet")))
    assert (summary.n_in, summary.n_scored, summary.n_rejected) == (N_ROWS, N_ROWS - 6, 6)
    rejects = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out" / "_rejects").iterdir()))
    assert rejects.column("_row").to_pylist() == bad
    assert set(rejects.column("_source").to_pylist()) == {"rows.parquet"}
    assert rejects.column("id").to_pylist() == [f"row{i}" for i in bad]
    assert (
        rejects.column("_reason").to_pylist()
        == ["input 'tabular': NaN in column 'b', but a member cannot take missing values there"] * 6
    )
    ids = column(scored(tmp_path / "out"), "id").tolist()
    assert ids == [f"row{i}" for i in range(N_ROWS) if i not in bad]


def test_the_first_bad_row_ends_the_job_if_it_is_told_to_fail(wishes: Wishes, bundle: Path, tmp_path: Path) -> None:
    spoilt(bundle, tmp_path / "rows.parquet", [1555])
    mine = replace(wishes, input=str(tmp_path / "rows.parquet"))
    with pytest.raises(ExecutionError, match=r"rows.parquet, row 1555: input 'tabular': NaN in column 'b'"):
        run(mine, options=EngineOptions(on_error="fail"))
    assert run(mine).n_rejected == 1


@pytest.mark.parametrize(
    ("limit", "is_allowed"), [("5", False), ("6", True), ("0.1%", False), ("0.2%", True), ("0", False)]
)
def test_a_job_fails_above_its_limit_of_rejected_rows_and_goes_on_with_a_higher_one(
    wishes: Wishes, bundle: Path, tmp_path: Path, limit: str, is_allowed: bool
) -> None:
    spoilt(bundle, tmp_path / "rows.parquet", [0, 7, 299, 300, 1555, N_ROWS - 1])
    mine = replace(wishes, input=str(tmp_path / "rows.parquet"))
    if not is_allowed:
        with pytest.raises(InvalidInput, match=r"rows of .* are rejected; --max-rejects allows"):
            run(mine, max_rejects=MaxRejects.parse(limit))
        limit = "100%"
    assert run(mine, max_rejects=MaxRejects.parse(limit)).n_rejected == 6


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "101%", "%"])
def test_a_limit_of_rejected_rows_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a whole number"):
        MaxRejects.parse(text)


def test_a_share_of_rejected_rows_is_held_against_the_whole_input_not_against_its_beginning() -> None:
    limit = MaxRejects.parse("1%")
    limit.check(Totals(1, 1000, 900, 100), done=0.01)
    with pytest.raises(InvalidInput, match=r"100 rows of 1,000 are rejected; --max-rejects allows 1%"):
        limit.check(Totals(1, 1000, 900, 100), done=0.9)
    with pytest.raises(InvalidInput):
        limit.check(Totals(1, 1000, 989, 11), done=1.0)
    limit.check(Totals(1, 1000, 990, 10), done=1.0)
