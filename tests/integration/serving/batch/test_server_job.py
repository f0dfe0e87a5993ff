"""Jobs whose rows a running server scores."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_ensembles import text_labels, two_classes
from table_rows import column, scored, table_of
from widedeep.serving.batch.job import run
from widedeep.serving.batch.planning import Wishes
from widedeep.serving.contract.bundle import read_bundle
from widedeep.serving.contract.errors import BundleError, ConfigurationError, NotFound
from widedeep.serving.online.server import Server

StartServer = Callable[..., Server]

N_ROWS = 2500


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repository")
    (path / "animals").mkdir()
    text_labels(path / "animals" / "4")
    return path


@pytest.fixture(scope="module")
def rows(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    table = table_of(read_bundle(repository / "animals" / "4").inputs, N_ROWS)
    values = table.column("c").to_pylist()
    values[1234] = None
    place = table.schema.get_field_index("c")
    pq.write_table(table.set_column(place, "c", pa.array(values, pa.float32())), path, row_group_size=300)
    return path


def test_a_server_scores_the_rows_of_a_job_as_this_process_would(
    start_server: StartServer, repository: Path, rows: Path, tmp_path: Path
) -> None:
    server = start_server(repository)
    wishes = Wishes("animals", str(rows), str(tmp_path / "remote"), keep=("id",), part_bytes=20_000)
    asked = replace(wishes, server=f"127.0.0.1:{server.port}")
    there = run(asked)
    here = run(replace(wishes, bundle=str(repository / "animals" / "4"), output=str(tmp_path / "local")))
    assert there.bundle == {**here.bundle, "name": "animals"}
    assert (there.n_in, there.n_scored, there.n_rejected) == (N_ROWS, N_ROWS - 1, 1)
    answer, expected = scored(tmp_path / "remote"), scored(tmp_path / "local")
    assert answer.select(["id", "label"]).equals(expected.select(["id", "label"]))
    np.testing.assert_allclose(column(answer, "probabilities"), column(expected, "probabilities"), rtol=0, atol=1e-6)


def test_with_a_bundle_in_place_of_a_name_the_server_must_serve_just_that(
    start_server: StartServer, repository: Path, rows: Path, tmp_path: Path
) -> None:
    server = start_server(repository / "animals" / "4", name="test")
    address = f"127.0.0.1:{server.port}"
    wishes = Wishes(str(repository / "animals" / "4"), str(rows), str(tmp_path / "out"), server=address)
    assert run(wishes).n_scored == N_ROWS - 1
    (tmp_path / "other").mkdir()
    other = two_classes(tmp_path / "other" / "1")
    refused = replace(wishes, bundle=str(tmp_path / "other" / "1"), output=str(tmp_path / "none"))
    with pytest.raises(BundleError, match=other.digest[:12]):
        run(refused)


def test_a_job_that_a_server_began_is_not_mixed_with_one_of_this_process(
    start_server: StartServer, repository: Path, rows: Path, tmp_path: Path
) -> None:
    server = start_server(repository)
    address = f"127.0.0.1:{server.port}"
    wishes = Wishes("animals", str(rows), str(tmp_path / "out"), server=address)
    run(wishes)
    with pytest.raises(ConfigurationError, match="scored by a server, now"):
        run(replace(wishes, bundle=str(repository / "animals" / "4"), server=""))


def test_a_model_that_the_server_lacks_ends_the_job(
    start_server: StartServer, repository: Path, rows: Path, tmp_path: Path
) -> None:
    server = start_server(repository)
    address = f"127.0.0.1:{server.port}"
    with pytest.raises(NotFound, match="plants"):
        run(Wishes("plants", str(rows), str(tmp_path / "out"), server=address))
