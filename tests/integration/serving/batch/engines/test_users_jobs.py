"""The functions for users' own Ray and Spark jobs, on real clusters."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from engine_work import BAD_ROWS, Work
from widedeep.serving.batch.scoring import BatchScorer
from widedeep.serving.contract.errors import InvalidInput

pytestmark = [
    pytest.mark.slow,
    # Ray reads settings that itself has deprecated; PySpark has a word on pandas, which nothing here uses.
    pytest.mark.filterwarnings("ignore:`use_.* is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"),
]
OUTPUTS = ["label", "probabilities"]
N = 500


@pytest.fixture(scope="module")
def rows(work: Work) -> Any:
    """The first rows of the job's input, one of which is bad."""
    import pyarrow.parquet as pq

    return pq.read_table(work.folder / "rows.parquet").slice(0, N).combine_chunks()


@pytest.fixture(scope="module")
def expected(work: Work, rows: Any) -> Any:
    """What the core answers for the rows that can be scored."""
    scorer = BatchScorer.load(work.bundle, outputs=OUTPUTS, keep=["id"])
    return scorer.score_rows(rows.to_batches()[0]).predictions


def same(answer: Any, expected: Any) -> None:
    """Hold the scored rows of an answer, in any order, against the core's."""
    scored = answer.filter(pa.compute.is_valid(answer["label"])).sort_by("id")
    assert scored["id"].to_pylist() == expected["id"].to_pylist()
    for name in OUTPUTS:
        assert scored[name].to_pylist() == expected[name].to_pylist()


def bad_ids(answer: Any) -> list[int]:
    return sorted(answer.filter(pa.compute.is_valid(answer["error"]))["id"].to_pylist())


def test_ray_scores_tensors_of_a_bundle_that_was_sent(work: Work, rows: Any, expected: Any, ray_cluster: Any) -> None:
    from widedeep.serving.batch.engines.ray import RayScorer, SentBundle

    images = np.array(rows["image"].to_pylist(), np.float32).reshape(N, 2, 4)
    items = [{**row, "image": image} for row, image in zip(rows.to_pylist(), images, strict=True)]
    sent = SentBundle.put(work.bundle)
    answer = ray_cluster.data.from_items(items, override_num_blocks=4).map_batches(
        RayScorer,
        fn_constructor_kwargs={"bundle": sent, "outputs": OUTPUTS, "keep": ["id"], "on_error": "null"},
        batch_format="pyarrow",
        concurrency=2,
    )
    blocks = pa.concat_tables(ray_cluster.get(answer.to_arrow_refs()))
    same(blocks, expected)
    assert bad_ids(blocks) == [row for row in BAD_ROWS if row < N]


def test_ray_fails_by_default_on_a_row_that_cannot_be_scored(work: Work, rows: Any, ray_cluster: Any) -> None:
    from widedeep.serving.batch.engines.ray import RayScorer

    data = ray_cluster.data.from_arrow(rows).map_batches(
        RayScorer, fn_constructor_kwargs={"bundle": str(work.bundle)}, batch_format="pyarrow", concurrency=1
    )
    with pytest.raises(ray_cluster.exceptions.RayTaskError, match="NaN in row 7, column 'a'"):
        data.materialize()


def test_spark_scores_a_data_frame_in_one_line(work: Work, rows: Any, expected: Any, spark: Any) -> None:
    from widedeep.serving.batch.engines.spark import score

    frame = spark.read.parquet(str(work.folder / "rows.parquet")).where(f"id < {N}").repartition(3)
    answer = score(frame, work.bundle, OUTPUTS, ["id"], bundle_columns=True, on_error="null")
    assert answer.schema.simpleString() == (
        "struct<id:bigint,label:string,probabilities:array<float>,bundle_name:string,bundle_version:string,"
        "bundle_digest:string,error:string>"
    )
    got = answer.toArrow()
    same(got, expected)
    assert bad_ids(got) == [row for row in BAD_ROWS if row < N]
    assert set(got["bundle_version"].to_pylist()) == {"1", None}


def test_spark_fails_by_default_on_a_row_that_cannot_be_scored(work: Work, spark: Any) -> None:
    from pyspark.errors import PythonException
    from widedeep.serving.batch.engines.spark import score

    frame = spark.read.parquet(str(work.folder / "rows.parquet")).where("id < 10")
    with pytest.raises(PythonException, match="NaN in row 7, column 'a'"):
        score(frame, work.bundle).count()
    with pytest.raises(InvalidInput, match="'tabular'"):
        score(frame.drop("b"), work.bundle)
