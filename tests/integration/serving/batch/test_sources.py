"""Jobs over the same rows in every format that can hold them."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from batch_rows import scored, table_of
from PIL import Image
from small_ensembles import text_labels
from widedeep.serving.batch.job import run
from widedeep.serving.batch.planning import Wishes
from widedeep.serving.contract.bundle import read_bundle

N_ROWS = 400


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("animals") / "1"
    text_labels(path)
    return path


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
