"""The example of the documentation, word for word, on models trained here; and further ways to name images."""

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from widedeep.export.demo.digits import Rows, split_digits, tabular_names
from widedeep.export.demo.members import N_CLASSES
from widedeep.export.libraries import import_keras
from widedeep.serving.batch.images import decode
from widedeep.serving.cli import main
from widedeep.serving.client import Client
from widedeep.serving.contract.bundle import read_bundle, read_samples
from widedeep.serving.engine.ensemble import Ensemble
from widedeep.serving.online.server import Server

from .conftest import write_spec

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default:::(tensorflow|keras|numpy).*"),  # on their own use of each other
]

DOCUMENT = Path(__file__).parents[4] / "docs" / "export_spec.md"
N_HELD_OUT = 300


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the documented example names, and the example itself as `digits.toml`."""
    import lightgbm
    import pandas as pd
    import skops.io
    import xgboost
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    folder = tmp_path_factory.mktemp("digits")
    train, held_out = split_digits(0)
    table = pd.DataFrame(held_out.inputs["tabular"], columns=tabular_names()).assign(digit=held_out.labels)
    table[:N_HELD_OUT].to_parquet(folder / "held_out.parquet")
    np.save(folder / "images.npy", (held_out.inputs["image"][:N_HELD_OUT] * 16).astype(np.uint8))
    columns = pd.DataFrame(train.inputs["tabular"], columns=tabular_names())
    trees = xgboost.XGBClassifier(n_estimators=3, max_depth=3, n_jobs=1).fit(columns, train.labels)
    trees.save_model(folder / "trees.ubj")
    boost = lightgbm.LGBMClassifier(n_estimators=3, max_depth=3, n_jobs=1, verbose=-1).fit(columns, train.labels)
    boost.booster_.save_model(folder / "boost.txt")
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)).fit(columns[:500], train.labels[:500])
    skops.io.dump(linear, folder / "linear.skops")
    _net(train).save(folder / "deep.keras")
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert example is not None
    (folder / "digits.toml").write_text(example[1])
    return folder


@pytest.fixture(scope="module")
def bundle(digits: Path) -> Path:
    """The bundle of the documented example."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["export", str(digits / "digits.toml")]) == 0
    return digits / "models" / "digits" / "1"


def test_the_documented_example_makes_the_bundle_that_it_describes(bundle: Path) -> None:
    described = read_bundle(bundle)
    assert [member.name for member in described.members] == ["deep", "trees", "boost", "linear"]
    assert {spec.name: list(spec.row_shape) for spec in described.inputs} == {"image": [8, 8, 1], "tabular": [84]}
    assert {spec.name: spec.pixel_scale for spec in described.inputs} == {"image": 16, "tabular": None}
    assert described.classes[:2] == ("zero", "one")
    assert len(next(iter(read_samples(bundle).inputs.values()))) == 16
    ensemble = Ensemble.load(bundle)
    assert max(ensemble.verify(read_samples(bundle)).values()) <= 1e-5


def test_the_documented_bundle_is_served(bundle: Path, start_server: Callable[..., Server]) -> None:
    server = start_server(bundle.parents[1])
    rows = split_digits(0)[1]
    with Client(f"127.0.0.1:{server.port}", model="digits") as client:
        answer = client.predict(dict(rows.inputs))
    places = np.array([read_bundle(bundle).classes.index(label) for label in np.ravel(answer.label)])
    assert (places == rows.labels).mean() > 0.9


def test_a_net_in_the_documented_bundle_answers_as_keras_does(bundle: Path, digits: Path) -> None:
    rows = split_digits(0)[1].inputs
    net = import_keras().models.load_model(digits / "deep.keras")
    answer = Ensemble.load(bundle).predict(rows, ["scores/deep"])["scores/deep"]
    np.testing.assert_allclose(answer, net.predict(rows["image"], verbose=0), atol=1e-5)


NET = """
name = "digits"
ensemble.learners = ["uniform"]
[data]
held_out = {held_out}
[inputs.image]
scale = 16
{image}
[members.deep]
file = "deep.keras"
"""


@pytest.fixture(scope="module")
def pictures(digits: Path) -> Path:
    """The held-out images as PNG files in one folder a class, and a table that names them in that order."""
    import pandas as pd
    from PIL import Image

    images = np.load(digits / "images.npy")
    labels = pd.read_parquet(digits / "held_out.parquet")["digit"].to_numpy()
    names = []
    for row in np.argsort(labels, kind="stable"):
        name = f"{labels[row]}/{row:03d}.png"
        (digits / "pictures" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row, :, :, 0]).save(digits / "pictures" / name)
        names.append(name)
    order = np.argsort(labels, kind="stable")
    pd.DataFrame({"name": names, "digit": labels[order]}).to_csv(digits / "pictures.csv", index=False)
    np.savez(digits / "pictures.npz", pixels=images[order], digit=labels[order])
    return digits


@pytest.fixture
def printed(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(text: str, *flags: str) -> Any:
        spec = write_spec(pictures, tmp_path, text)
        status = main(["export", str(spec), "--output", str(tmp_path / "bundle"), "--json", *flags])
        out, err = capsys.readouterr()
        return json.loads(out) if status == 0 else err

    return run


def test_images_may_be_a_folder_a_class_or_files_that_a_column_names_or_an_array(
    printed: Callable[..., Any], tmp_path: Path
) -> None:
    made = {}
    for name, held_out, image in (
        ("array", '"pictures.npz"\ntarget = "digit"', 'columns = ["pixels"]'),
        ("column", '"pictures.csv"\ntarget = "digit"', 'folder = "pictures"\nfiles = "name"'),
        ("folder", '"pictures"', ""),
    ):
        made[name] = printed(NET.format(held_out=held_out, image=image))
    assert made["array"]["digest"] == made["column"]["digest"]
    scores = {name: result["members"]["deep"]["metrics"] for name, result in made.items()}
    assert scores["folder"] == scores["array"]
    assert read_bundle(tmp_path / "bundle").classes == tuple(map(str, range(N_CLASSES)))


def test_a_job_takes_the_image_files_that_the_bundle_was_made_of(
    printed: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    printed(NET.format(held_out='"pictures"', image=""))
    files = sorted((pictures / "pictures").glob("*/*.png"))
    ensemble = Ensemble.load(tmp_path / "bundle")
    (spec,) = ensemble.bundle.inputs
    images = decode(spec, "image", pa.array([file.read_bytes() for file in files]), None)
    with np.load(tmp_path / "bundle" / "evidence" / "held_out.npz") as held_out:
        scores = ensemble.predict({"image": images}, ["scores/deep"])["scores/deep"]
        np.testing.assert_allclose(scores, held_out["scores/deep"], atol=1e-6)


def test_a_keras_file_with_code_in_it_is_loaded_only_if_it_is_trusted(
    printed: Callable[..., Any], pictures: Path
) -> None:
    keras = import_keras()
    net = keras.models.load_model(pictures / "deep.keras")
    doubled = keras.layers.Lambda(lambda x: x, output_shape=(N_CLASSES,))(net.outputs[0])
    keras.Model(net.inputs, keras.layers.Activation("linear")(doubled)).save(pictures / "lambda.keras")
    spec = NET.replace("deep.keras", "lambda.keras").format(
        held_out='"pictures.npz"\ntarget = "digit"\n', image='columns = ["pixels"]'
    )
    spec = spec.replace("ensemble", 'task = "classification"\nensemble', 1)
    assert "[members.deep] file: lambda.keras holds a Lambda layer, and loading one runs the code" in printed(spec)
    assert printed(spec, "--trust")["members"]["deep"]["certificate"]["rows"] == N_HELD_OUT


def test_a_net_is_served_in_int8_within_the_bound_that_the_file_states(printed: Callable[..., Any]) -> None:
    spec = NET.format(held_out='"pictures.npz"\ntarget = "digit"', image='columns = ["pixels"]')
    spec += 'int8 = true\n[ensemble]\nlearners = ["uniform"]\nint8_bound = 0.02\n'
    int8 = printed(spec.replace('ensemble.learners = ["uniform"]\n', ""))["members"]["deep"]["int8"]
    assert int8["bound"] == 0.02
    assert int8["loss_after"] <= int8["loss_before"] + 0.02
    assert int8["held_out_rows"] == N_HELD_OUT


def test_a_savedmodel_becomes_a_member_that_answers_as_its_keras_model(
    printed: Callable[..., Any], pictures: Path, tmp_path: Path
) -> None:
    net = import_keras().models.load_model(pictures / "deep.keras")
    image = split_digits(0)[1].inputs["image"]
    expected = net.predict(image, verbose=0)
    net.export(pictures / "deep", verbose=False)
    spec = NET.replace("deep.keras", "deep").format(
        held_out='"pictures.npz"\ntarget = "digit"', image='columns = ["pixels"]'
    )
    assert printed(spec)["members"]["deep"]["format"] == "savedmodel"
    answer = Ensemble.load(tmp_path / "bundle").predict({"image": image}, ["scores/deep"])["scores/deep"]
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def _net(train: Rows) -> Any:
    keras = import_keras()
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    y = keras.layers.Dense(N_CLASSES, activation="softmax")(keras.layers.Flatten()(x))
    net = keras.Model(image, y)
    net.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", jit_compile=False)
    net.fit(train.inputs["image"], train.labels, epochs=3, verbose=0)
    return net
