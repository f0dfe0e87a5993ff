"""The same rows from and to every format, and what the command shows."""

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from table_rows import column, scored, table_of
from widedeep.serving.batch.job import run
from widedeep.serving.batch.planning import Wishes
from widedeep.serving.batch.progress import Silent
from widedeep.serving.cli import main
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.errors import ConfigurationError

N_ROWS = 500


@pytest.fixture(scope="module")
def table(bundle: Path) -> pa.Table:
    return table_of(read_bundle(bundle).inputs, N_ROWS)


@pytest.fixture(scope="module")
def expected(bundle: Path, table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """What the rows become from Parquet to Parquet."""
    folder = tmp_path_factory.mktemp("expected")
    pq.write_table(table, folder / "rows.parquet")
    run(Wishes(str(bundle), str(folder / "rows.parquet"), str(folder / "out"), keep=("id",)))
    return scored(folder / "out")


def write_csv(table: pa.Table, path: Path) -> None:
    pyarrow.csv.write_csv(table.drop_columns(["image"]), path)


def write_jsonl(table: pa.Table, path: Path) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


def write_feather(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


def write_npz(table: pa.Table, path: Path) -> None:
    features = {name: column(table, name).astype(np.float32) for name in "abc"}
    image = column(table, "image").astype(np.float32).reshape(-1, 2, 4)
    np.savez(path, id=np.array(table.column("id").to_pylist()), image=image, **features)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "rows.jsonl": write_jsonl,
    "rows.arrow": write_feather,
    "rows.arrows": write_stream,
    "rows.npz": write_npz,
}


@pytest.mark.parametrize("name", WRITERS)
def test_rows_of_every_format_become_the_same_bits(
    bundle: Path, table: pa.Table, expected: pa.Table, tmp_path: Path, name: str
) -> None:
    WRITERS[name](table, tmp_path / name)
    summary = run(Wishes(str(bundle), str(tmp_path / name), str(tmp_path / "out"), keep=("id",), part_bytes=9000))
    assert summary.n_scored == N_ROWS
    assert scored(tmp_path / "out").to_pylist() == expected.to_pylist()


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of plain columns only: numbers and a text; CSV can hold it."""
    from small_ensembles import BY_CITY, CITY, TABULAR, make, text_graph
    from widedeep.serving.contract.combiner import LinearPool

    path = tmp_path_factory.mktemp("wide") / "1"
    make(path, {"by_city": (text_graph(BY_CITY), [TABULAR, CITY])}, LinearPool(np.array([1.0])))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".tsv"])
def test_rows_of_csv_become_the_bits_of_parquet(wide: Path, tmp_path: Path, suffix: str) -> None:
    table = table_of(read_bundle(wide).inputs, N_ROWS)
    pq.write_table(table, tmp_path / "rows.parquet")
    delimiter = "\t" if suffix == ".tsv" else ","
    options = pyarrow.csv.WriteOptions(delimiter=delimiter)
    with pa.output_stream(tmp_path / f"rows{suffix}", compression="detect") as sink:
        pyarrow.csv.write_csv(table, sink, options)
    for name in ("rows.parquet", f"rows{suffix}"):
        run(Wishes(str(wide), str(tmp_path / name), str(tmp_path / f"out-{name}"), keep=("id",), part_bytes=5000))
    assert scored(tmp_path / f"out-rows{suffix}").equals(scored(tmp_path / "out-rows.parquet"))


def test_bad_lines_of_csv_are_rejected_with_their_bytes_and_can_be_retried(wide: Path, tmp_path: Path) -> None:
    table = table_of(read_bundle(wide).inputs, N_ROWS)
    pyarrow.csv.write_csv(table, tmp_path / "rows.csv")
    lines = (tmp_path / "rows.csv").read_bytes().splitlines(keepends=True)
    lines[7] = b'"row6",x,1,2,"rome"\n'
    lines[300] = b'"row299",1,2\n'
    (tmp_path / "rows.csv").write_bytes(b"".join(lines))
    wishes = Wishes(str(wide), str(tmp_path / "rows.csv"), str(tmp_path / "out"), keep=("id",), part_bytes=3000)
    summary = run(wishes)
    assert (summary.n_in, summary.n_scored, summary.n_rejected) == (N_ROWS, N_ROWS - 2, 2)
    rejects = pa.concat_tables(pq.read_table(path) for path in sorted((tmp_path / "out" / "_rejects").iterdir()))
    raw = rejects.column("_raw").to_pylist()
    assert raw == [lines[7].rstrip(), lines[300].rstrip()]
    content = b"".join(lines)
    assert [content[at:].startswith(line) for at, line in zip(rejects.column("_byte").to_pylist(), raw, strict=True)]
    assert "column 'a': expected double, got" in rejects.column("_reason").to_pylist()[0]
    assert "expected 5 cells, got 3" in rejects.column("_reason").to_pylist()[1]
    again = run(wishes, retry_rejects=True)
    assert (again.n_in, again.n_scored, again.n_rejected) == (N_ROWS, N_ROWS - 2, 2)
    assert len(scored(tmp_path / "out")) == N_ROWS - 2


def test_probabilities_have_a_column_a_class_in_csv(
    bundle: Path, table: pa.Table, expected: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(table, tmp_path / "rows.parquet")
    run(Wishes(str(bundle), str(tmp_path / "rows.parquet"), str(tmp_path / "out"), keep=("id",), output_format="csv"))
    (part,) = (tmp_path / "out").glob("part-*.csv")
    answer = pyarrow.csv.read_csv(part)
    assert answer.schema.names == ["id", "probabilities.cat", "probabilities.dog", "probabilities.ibex", "label"]
    np.testing.assert_array_equal(
        np.stack([column(answer, f"probabilities.{name}") for name in ("cat", "dog", "ibex")], axis=1).astype(
            np.float32
        ),
        column(expected, "probabilities").astype(np.float32),
    )


def test_json_lines_hold_lists(bundle: Path, table: pa.Table, expected: pa.Table, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "rows.parquet")
    run(Wishes(str(bundle), str(tmp_path / "rows.parquet"), str(tmp_path / "out"), keep=("id",), output_format="jsonl"))
    (part,) = (tmp_path / "out").glob("part-*.jsonl")
    rows = [json.loads(line) for line in part.read_text().splitlines()]
    assert [row["label"] for row in rows] == expected.column("label").to_pylist()
    np.testing.assert_array_equal(
        np.array([row["probabilities"] for row in rows], np.float32),
        column(expected, "probabilities").astype(np.float32),
    )


def test_a_partitioned_data_set_gives_its_folders_as_columns(bundle: Path, table: pa.Table, tmp_path: Path) -> None:
    for year in (2025, 2026):
        (tmp_path / "in" / f"year={year}").mkdir(parents=True)
        pq.write_table(table, tmp_path / "in" / f"year={year}" / "rows.parquet")
    (tmp_path / "in" / "_SUCCESS").write_text("")
    run(Wishes(str(bundle), str(tmp_path / "in"), str(tmp_path / "out"), keep=("year", "id")))
    assert scored(tmp_path / "out").column("year").to_pylist() == [2025] * N_ROWS + [2026] * N_ROWS


def test_the_output_of_a_job_can_be_the_input_of_the_next(bundle: Path, table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(table, tmp_path / "rows.parquet")
    keep = tuple(name for name in table.schema.names)
    run(Wishes(str(bundle), str(tmp_path / "rows.parquet"), str(tmp_path / "first"), keep=keep))
    second = run(Wishes(str(bundle), str(tmp_path / "first"), str(tmp_path / "second"), keep=("id",)))
    assert second.n_scored == N_ROWS
    assert scored(tmp_path / "second").column("id").to_pylist() == table.column("id").to_pylist()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that takes images of 4 x 4 pixels in 3 channels."""
    from small_bundle import softmax_graph
    from small_ensembles import make
    from widedeep.serving.contract.combiner import LinearPool
    from widedeep.serving.contract.tensors import DataType, TensorSpec

    path = tmp_path_factory.mktemp("pictures") / "1"
    spec = TensorSpec("picture", DataType.FP32, (-1, 4, 4, 3))
    make(path, {"net": (softmax_graph("picture", (4, 4, 3), 3, 0), [spec])}, LinearPool(np.array([1.0])))
    return path


def test_a_folder_of_images_gives_the_bits_of_its_pixels(pictures: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
    for i, values in enumerate(pixels):
        folder = tmp_path / "in" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(folder / f"{i:02d}.png")
    (tmp_path / "in" / "cat" / "99.png").write_bytes(b"\x89PNG no more")
    wishes = Wishes(
        str(pictures),
        str(tmp_path / "in"),
        str(tmp_path / "out"),
        keep=("path", "label"),
        prefix="p_",
        image_scale=255.0,
        part_bytes=1000,
    )
    summary = run(wishes)
    assert (summary.n_in, summary.n_scored, summary.n_rejected) == (41, 40, 1)
    answer = scored(tmp_path / "out")
    order = [int(Path(path).stem) for path in answer.column("path").to_pylist()]
    assert set(answer.column("label").to_pylist()) == {"cat", "dog"}
    tensors = pa.fixed_shape_tensor(pa.float32(), (4, 4, 3))
    storage = pa.FixedSizeListArray.from_arrays(pa.array((pixels[order] / np.float32(255)).reshape(-1)), 48)
    pq.write_table(pa.table({"picture": pa.ExtensionArray.from_storage(tensors, storage)}), tmp_path / "rows.parquet")
    run(Wishes(str(pictures), str(tmp_path / "rows.parquet"), str(tmp_path / "other"), prefix="p_"))
    assert scored(tmp_path / "other").column("p_probabilities").equals(answer.column("p_probabilities"))
    Image.fromarray(pixels[0]).save(buffer := io.BytesIO(), "PNG")
    (tmp_path / "in" / "cat" / "99.png").write_bytes(buffer.getvalue())
    with pytest.raises(ConfigurationError, match=r"cat/99.png"):
        run(wishes, retry_rejects=True)


def test_images_beside_their_paths_are_decoded_as_those_in_a_folder(pictures: Path, tmp_path: Path) -> None:
    images = []
    for i in range(5):
        Image.new("RGB", (4, 4), (0, 50 * i, 0)).save(buffer := io.BytesIO(), "PNG")
        images.append({"bytes": buffer.getvalue(), "path": f"{i}.png"})
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{i}.png").write_bytes(buffer.getvalue())
    pq.write_table(pa.table({"picture": images}), tmp_path / "rows.parquet")
    for source in ("in", "rows.parquet"):
        run(Wishes(str(pictures), str(tmp_path / source), str(tmp_path / f"out-{source}"), image_scale=255.0))
    assert scored(tmp_path / "out-rows.parquet").equals(scored(tmp_path / "out-in"))


class Hidden(Silent):
    """Moves a file away once the job has begun."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        self._path.rename(self._path.with_name(".away"))
        return self

    def __exit__(self, *_: object) -> None:
        self._path.with_name(".away").rename(self._path)


def test_rows_that_could_not_be_read_at_first_become_a_part_more_when_retried(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for i in range(6):
        Image.new("RGB", (4, 4), (40 * i, 0, 0)).save(tmp_path / "in" / f"{i}.png")
    wishes = Wishes(
        str(pictures), str(tmp_path / "in"), str(tmp_path / "out"), keep=("path",), image_scale=255.0, part_bytes=200
    )
    first = run(wishes, progress=Hidden(tmp_path / "in" / "3.png"))
    assert (first.n_in, first.n_scored, first.n_rejected) == (6, 5, 1)
    second = run(wishes, retry_rejects=True)
    assert (second.n_in, second.n_scored, second.n_rejected) == (6, 6, 0)
    answer = scored(tmp_path / "out").sort_by("path")
    assert answer.column("path").to_pylist() == [f"{i}.png" for i in range(6)]
    assert list((tmp_path / "out" / "_rejects").iterdir()) == []
    run(Wishes(str(pictures), str(tmp_path / "in"), str(tmp_path / "whole"), keep=("path",), image_scale=255.0))
    assert answer.equals(scored(tmp_path / "whole"))
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert (manifest["n_in"], manifest["n_scored"], manifest["n_rejected"]) == (6, 6, 0)


def test_pixels_whose_scale_nobody_tells_are_refused(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "in" / "a.png")
    with pytest.raises(Exception, match=r"--image-scale 255"):
        run(Wishes(str(pictures), str(tmp_path / "in"), str(tmp_path / "out")))


def test_another_file_system_holds_input_and_output(bundle: Path, table: pa.Table, expected: pa.Table) -> None:
    import fsspec

    files = fsspec.filesystem("memory")
    files.makedirs("/batch/in", exist_ok=True)
    with files.open("/batch/in/rows.parquet", "wb") as sink:
        pq.write_table(table, sink)
    summary = run(Wishes(str(bundle), "memory://batch/in", "memory://batch/out", keep=("id",)))
    assert summary.n_scored == N_ROWS
    parts = [name for name in files.ls("/batch/out", detail=False) if "/part-" in name]
    with files.open(parts[0], "rb") as source:
        assert pq.read_table(source).to_pylist() == expected.to_pylist()


def test_the_command_prints_counts_and_the_rate(
    bundle: Path, table: pa.Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(table, tmp_path / "rows.parquet")
    arguments = ["score", str(bundle), str(tmp_path / "rows.parquet"), str(tmp_path / "out"), "--keep", "id"]
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert "500 rows in = 500 scored + 0 rejected" in shown.out
    assert "rows/s" in shown.out
    assert shown.err == ""
    assert main(arguments) == 0
    assert "was complete already; nothing was done" in capsys.readouterr().out


def test_a_job_that_cannot_be_done_ends_with_a_message_and_status_1(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(bundle), str(tmp_path / "none.parquet"), str(tmp_path / "out")]) == 1
    assert "none.parquet" in capsys.readouterr().err


def test_a_terminal_is_shown_a_bar(bundle: Path, table: pa.Table, tmp_path: Path) -> None:
    pq.write_table(pa.concat_tables([table] * 100), tmp_path / "rows.parquet", row_group_size=1000)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "widedeep.serving.cli", "score", str(bundle), str(tmp_path / "rows.parquet")]
    process = subprocess.Popen(
        [*command, str(tmp_path / "out"), "--part-mib", "0.1"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm"},
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    process.communicate()
    assert process.returncode == 0
    assert b"scoring" in shown
    assert b"rows/s" in shown
