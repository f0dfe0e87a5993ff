import numpy as np
import pandas as pd
import pytest
from widedeep.export.zoo.encoders import codes, one_hot, origins, scaled, table_columns, target_means
from widedeep.export.zoo.problem import Problem

PROBLEM = Problem(
    task="classification", n_outputs=3, n_rows=60, numeric=("age", "empty"), text=("city", "job"), n_words={}
)


@pytest.fixture
def table() -> pd.DataFrame:
    age = np.linspace(20, 60, 60, dtype=np.float32)
    age[::7] = np.nan
    return pd.DataFrame(
        {
            "age": age,
            "empty": np.full(60, np.nan, np.float32),
            "city": pd.Series(["Ulm", "Bonn", ""] * 20, dtype=object),
            "job": pd.Series([f"job {i}" for i in range(10)] * 5 + ["nurse"] * 10, dtype=object),
        }
    )


def encoded(table: pd.DataFrame, numbers: object, words: object) -> tuple[np.ndarray, list[str]]:
    columns = table_columns(PROBLEM, numbers, words)
    matrix = columns.fit_transform(table, np.arange(60) % 3)
    return matrix, list(origins(columns))


def test_codes_keep_a_column_each(table: pd.DataFrame) -> None:
    matrix, names = encoded(table, "passthrough", codes())
    assert names == ["age", "empty", "city", "job"]
    assert np.isnan(matrix[:, 0]).sum() == 9
    assert set(matrix[:, 2]) == {0.0, 1.0, 2.0}


def test_a_new_word_gets_the_code_of_unknown_ones(table: pd.DataFrame) -> None:
    columns = table_columns(PROBLEM, "passthrough", codes(-1)).fit(table)
    table["city"] = "Atlantis"
    assert set(columns.transform(table)[:, 2]) == {-1.0}


def test_rare_words_share_a_column(table: pd.DataFrame) -> None:
    matrix, names = encoded(table, "passthrough", one_hot(8))
    assert names == ["age", "empty", *["city"] * 3, *["job"] * 2]
    assert matrix[:, 5:].sum(axis=1).tolist() == [1.0] * 60


def test_target_means_are_a_column_a_class(table: pd.DataFrame) -> None:
    matrix, names = encoded(table, "passthrough", target_means(PROBLEM, seed=1))
    assert names == ["age", "empty", *["city"] * 3, *["job"] * 3]
    assert matrix.shape[1] == len(names)


@pytest.mark.parametrize(("curve", "n_age"), [("scaled", 1), ("quantile", 1), ("splines", 7)])
def test_scaled_numbers_have_no_gaps(table: pd.DataFrame, curve: object, n_age: int) -> None:
    matrix, names = encoded(table, scaled(curve, 60), one_hot(8))  # type: ignore[arg-type]  # a literal, in a list
    assert matrix.shape[1] == len(names)
    assert np.isfinite(matrix).all()
    assert names.count("age") == (2 if curve != "splines" else 2 * n_age - 2)
