"""Jobs over the same rows in every format that can hold them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_bundle import softmax_graph
from small_ensembles import IMAGE, make
from table_rows import scored, table_of
from widedeep.serving.batch.job import run
from widedeep.serving.batch.planning import Wishes
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.combiner import LinearPool
from widedeep.serving.engine.ensemble import Ensemble

N_ROWS = 400


@pytest.fixture(scope="module")
def table(bundle: Path) -> pa.Table:
    return table_of(read_bundle(bundle).inputs, N_ROWS)


def ipc(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


def npz(table: pa.Table, path: Path) -> None:
    np.savez(path, **{name: np.array(table.column(name).to_pylist()) for name in table.column_names})


def jsonl(table: pa.Table, path: Path) -> None:
    table.to_pandas().to_json(path, orient="records", lines=True, double_precision=15)


def parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=70)


@pytest.mark.parametrize(("suffix", "write"), [(".arrow", ipc), (".npz", npz), (".jsonl", jsonl)])
def test_every_format_gives_the_same_predictions(
    bundle: Path, table: pa.Table, tmp_path: Path, suffix: str, write: Callable[[pa.Table, Path], None]
) -> None:
    answers = []
    for name, writer in ((".parquet", parquet), (suffix, write)):
        folder = tmp_path / f"in{name}"
        folder.mkdir()
        for i in range(2):
            writer(table.slice(i * N_ROWS // 2, N_ROWS // 2), folder / f"{i}{name}")
        wishes = Wishes(str(bundle), str(folder), str(tmp_path / f"out{name}"), keep=("id",), part_bytes=10_000)
        summary = run(wishes)
        assert (summary.n_scored, summary.n_rejected) == (N_ROWS, 0)
        answers.append(scored(tmp_path / f"out{name}"))
    assert answers[1].column("id").to_pylist() == [f"row{i}" for i in range(N_ROWS)]
    for name in answers[0].column_names:
        assert answers[1].column(name).to_pylist() == answers[0].column(name).to_pylist()


def test_a_folder_of_images_is_scored_and_bad_ones_are_rejected(tmp_path: Path) -> None:
    graph = softmax_graph("image", (2, 4), 3, 0)
    make(tmp_path / "bundle", {"deep": (graph, [IMAGE])}, LinearPool(np.ones(1)))
    pixels = np.random.default_rng(0).integers(0, 256, (6, 2, 4), np.uint8)
    for i in range(6):
        folder = tmp_path / "in" / ("even" if i % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[i]).save(folder / f"{i}.png")
    (tmp_path / "in" / "odd" / "broken.png").write_bytes(b"broken")
    summary = run(
        Wishes(
            str(tmp_path / "bundle"),
            str(tmp_path / "in"),
            str(tmp_path / "out"),
            keep=("path", "label"),
            outputs=("scores/deep",),
            image_scale=255,
        )
    )
    assert (summary.n_in, summary.n_scored, summary.n_rejected) == (7, 6, 1)
    answer = scored(tmp_path / "out").to_pydict()
    assert answer["path"] == ["even/0.png", "even/2.png", "even/4.png", "odd/1.png", "odd/3.png", "odd/5.png"]
    assert answer["label"] == ["even"] * 3 + ["odd"] * 3
    images = pixels[[0, 2, 4, 1, 3, 5]].astype(np.float32) / np.float32(255)
    expected = Ensemble.load(tmp_path / "bundle").predict({"image": images}, ["scores/deep"])["scores/deep"]
    np.testing.assert_allclose(np.array(answer["scores/deep"]), expected, rtol=0, atol=1e-6)


def test_the_output_of_one_job_is_the_input_of_the_next(bundle: Path, table: pa.Table, tmp_path: Path) -> None:
    parquet(table, tmp_path / "in.parquet")
    names = tuple(table.column_names)
    run(Wishes(str(bundle), str(tmp_path / "in.parquet"), str(tmp_path / "once"), keep=names, prefix="once_"))
    summary = run(Wishes(str(bundle), str(tmp_path / "once"), str(tmp_path / "twice"), keep=("once_label",)))
    assert summary.n_scored == N_ROWS
    answer = scored(tmp_path / "twice")
    assert answer.column("once_label").to_pylist() == answer.column("label").to_pylist()
