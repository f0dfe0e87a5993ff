import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_cases import Case
from batch_inputs import tables, write_csv, write_files, write_parquet
from pyarrow import csv
from small_bundle import make_bundle


@pytest.fixture
def bundle(tmp_path):
    make_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_rows_come_in_tables_of_bounded_size_with_ids_in_order_and_no_two_equal(bundle):
    made = list(tables(bundle, 2500, most_rows=1000))
    assert [table.num_rows for table in made] == [1000, 1000, 500]
    table = pa.concat_tables(made)
    assert table.schema.names == ["id", "truth", "image", "a", "b", "c"]
    assert table.column("id").to_pylist() == list(range(2500))
    assert len(np.unique(table.column("a").to_numpy())) > 2400
    assert set(table.column("truth").to_pylist()) <= {"cat", "dog", "owl"}


def test_the_same_seed_makes_the_same_rows(bundle):
    first, again, other = (next(tables(bundle, 50, seed=seed)) for seed in (3, 3, 4))
    assert first.equals(again)
    assert not first.equals(other)


def test_a_table_becomes_a_row_group_or_a_file(bundle, tmp_path):
    write_parquet(tables(bundle, 250, most_rows=100), tmp_path / "rows.parquet")
    metadata = pq.read_metadata(tmp_path / "rows.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [100, 100, 50]
    write_files(tables(bundle, 250, most_rows=100), tmp_path / "files")
    assert [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "files").iterdir())] == [100, 100, 50]


def test_plain_columns_become_one_csv_file(bundle, tmp_path):
    plain = (table.select(["id", "a", "b", "c"]) for table in tables(bundle, 250, most_rows=100))
    write_csv(plain, tmp_path / "rows.csv")
    assert csv.read_csv(tmp_path / "rows.csv").column("id").to_pylist() == list(range(250))


@pytest.mark.parametrize(("layout", "n_groups"), [("groups", [1]), ("one group", [1]), ("files", [1, 1, 1])])
def test_a_case_is_laid_out_as_it_says(bundle, tmp_path, layout, n_groups):
    case = Case("case", "wide", layout, 2500)
    path = tmp_path / f"rows{case.suffix}"
    size = case.write(bundle, path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    assert [pq.read_metadata(file).num_row_groups for file in files] == n_groups
    assert size == sum(file.stat().st_size for file in files)
