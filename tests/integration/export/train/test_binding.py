"""A trained bundle takes the very file that it was trained on, whatever is missing in it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from widedeep.export.train.options import Options
from widedeep.export.train.run import train
from widedeep.serving.batch.binding import bind_batch, check_types


@pytest.mark.slow
def test_a_trained_bundle_binds_its_own_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    n = 200
    frame = pd.DataFrame(
        {
            "size": generator.normal(size=n),
            "whole": pd.array(generator.integers(0, 1 << 30, n), "Int64"),
            "flag": pd.array(generator.integers(0, 2, n).astype(bool), "boolean"),
            "town": pd.Categorical(generator.choice(["Bonn", "Köln", "Ulm"], n)),
            "same": 1,
        }
    )
    frame["y"] = np.where(frame["size"] + (frame["town"] == "Ulm") > 0, "yes", "no")
    for i, name in enumerate(("size", "whole", "flag", "town")):
        frame.loc[i::9, name] = None
    frame.to_parquet(tmp_path / "rows.parquet")
    options = Options(
        data=tmp_path / "rows.parquet",
        target="y",
        output=tmp_path / "models",
        time_limit_s=30,
        kinds=("linear",),
        max_trials=1,
        n_workers=1,
        work=tmp_path / "work",
    )
    trained = train(options)
    table = pq.read_table(tmp_path / "rows.parquet")
    check_types(trained.bundle.inputs, table.schema)
    bound = bind_batch(trained.bundle.inputs, table.combine_chunks().to_batches()[0])
    assert bound["town"][frame["town"].isna().to_numpy(), 0].tolist() == [""] * int(frame["town"].isna().sum())
    assert np.isnan(bound["tabular"]).sum() == frame[["size", "whole", "flag"]].isna().to_numpy().sum()
