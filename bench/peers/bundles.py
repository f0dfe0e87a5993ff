"""The bundles that the contenders serve, trained once and kept: three workloads, the demo's and one of many members.

The workloads combine by the mean of their members' scores, so that a contender needs no more than a few lines to do
what widedeep does.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

VERSION = "1"
FUSED_FILE = "fused.onnx"
N_CLASSES = 10
_SEED_SIDE = 64
_TRAIN_ROWS = 900
_SEED_TRAIN_ROWS = 320
_EPOCHS = 4
_MOST_ROWS = 400
"""Rows of 64x64x3 that parity is proven on; they are large."""

Rows = Mapping[str, np.ndarray]


def prepare(folder: Path, name: str, *, fresh: bool = False) -> Path:
    """Return the repository with the bundle of that name, `<folder>/<name>/<name>/1`; make it unless it is there.

    Beside a workload's bundle lies `fused.onnx`, the same ensemble as one graph.
    """
    repository = folder / name
    bundle = repository / name / VERSION
    if fresh and repository.exists():
        shutil.rmtree(repository)
    if not (repository / FUSED_FILE if name in WORKLOADS else bundle).exists():
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        print(f"making the bundle {name}", flush=True)
        repository.mkdir(parents=True, exist_ok=True)
        _MAKERS[name](bundle, name)
        if name in WORKLOADS:
            from widedeep.export import fuse

            fuse(bundle, repository / FUSED_FILE)
    return repository


def bundle_in(repository: Path) -> Path:
    """Return the bundle of a repository that `prepare` returned."""
    return repository / repository.name / VERSION


def description(repository: Path) -> dict[str, Any]:
    """Return what `bundle.json` says."""
    described: dict[str, Any] = json.loads((bundle_in(repository) / "bundle.json").read_bytes())
    return described


def samples(repository: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return the golden rows and their exact answers, by name."""
    with np.load(bundle_in(repository) / "samples.npz", allow_pickle=False) as arrays:
        sides: dict[str, dict[str, np.ndarray]] = {"inputs": {}, "outputs": {}}
        for key in arrays.files:
            side, _, name = key.partition("/")
            sides[side][name] = arrays[key]
    return sides["inputs"], sides["outputs"]


@dataclass(frozen=True, slots=True)
class Training:
    """What a workload's models are trained on, and how they are made.

    Attributes:
        rows: input -> rows; those of `train` are trained on, the others judge.
        labels: of all rows.
        net: makes the net; None without one.
        rounds: of boosting.
        n_train: rows of training.
    """

    rows: Rows
    labels: np.ndarray
    net: Callable[[], Any] | None
    rounds: int
    n_train: int = _TRAIN_ROWS

    def models(self) -> dict[str, Any]:
        """Train and return member -> model."""
        from sklearn.linear_model import LogisticRegression
        from xgboost import XGBClassifier

        columns, labels = self.rows["tabular"][: self.n_train], self.labels[: self.n_train]
        models: dict[str, Any] = {
            "trees": XGBClassifier(n_estimators=self.rounds, n_jobs=1, random_state=0).fit(columns, labels),
            "linear": LogisticRegression(max_iter=1000).fit(columns, labels),
        }
        if self.net is None:
            return models
        deep = self.net()
        onehot = np.eye(N_CLASSES, dtype=np.float32)[labels]
        deep.fit(self.rows["image"][: self.n_train], onehot, epochs=_EPOCHS, batch_size=32, verbose=0)
        return {"deep": deep, **models}


def _seed() -> Training:
    """The seed net on 64x64x3, 200 rounds of 10 classes on 64 columns, and a logistic regression."""
    digits, labels = _digits()
    n = _SEED_TRAIN_ROWS + _MOST_ROWS
    rows = {"image": _large(digits)[:n], "tabular": digits.reshape(len(digits), -1)[:n]}
    return Training(rows, labels[:n], _seed_net, rounds=200, n_train=_SEED_TRAIN_ROWS)


def _tiny() -> Training:
    """A net on 8x8x1, 30 rounds and a logistic regression."""
    digits, labels = _digits()
    rows = {"image": digits[..., np.newaxis], "tabular": digits.reshape(len(digits), -1)}
    return Training(rows, labels, _tiny_net, rounds=30)


def _wide() -> Training:
    """Trees of 200 rounds and a logistic regression."""
    digits, labels = _digits()
    return Training({"tabular": digits.reshape(len(digits), -1)}, labels, None, rounds=200)


TRAININGS: dict[str, Callable[[], Training]] = {"seed": _seed, "tiny": _tiny, "wide": _wide}


def _columns(path: Path, name: str) -> None:
    """The members of the wide workload on 64 named columns."""
    from widedeep.serving.contract.bundle import read_bundle, read_samples, write_bundle

    wide = bundle_in(prepare(path.parents[2], "wide"))
    bundle = read_bundle(wide)
    inputs = tuple(
        replace(spec, feature_names=tuple(f"pixel_{i}" for i in range(spec.row_shape[0]))) for spec in bundle.inputs
    )
    graphs = {member.name: (wide / member.file).read_bytes() for member in bundle.members}
    write_bundle(path, replace(bundle, name=name, inputs=inputs, fused=None), graphs, read_samples(wide))


def _demo(path: Path, name: str) -> None:  # noqa: ARG001 - the demo names its own bundle
    """The demo's four members."""
    from widedeep.export.demo.make import make_bundle

    @contextlib.contextmanager
    def quiet(_title: str, _n_steps: int) -> Iterator[Callable[[str], None]]:
        yield lambda _: None

    made = make_bundle(path, 0, quiet)
    print(f"the demo's bundle: {made.results['chosen']}", flush=True)


def _many(path: Path, name: str, *, n_members: int) -> None:
    """Members of one small matrix each, written without the exporter: what they cost themselves is next to nothing."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from widedeep.serving.contract.bundle import Bundle, MemberSpec, Samples, write_bundle
    from widedeep.serving.contract.certificate import Certificate
    from widedeep.serving.contract.combiner import LinearPool
    from widedeep.serving.contract.tensors import DataType, TensorSpec
    from widedeep.serving.engine.outputs import outputs_of
    from widedeep.serving.engine.runtime import ort

    digits, _ = _digits()
    rows = {"tabular": digits.reshape(len(digits), -1)[:16]}
    rng = np.random.default_rng(0)
    proof = Certificate(rows=16, probes=0, max_abs_diff=0.0, max_rel_diff=0.0, worst_row=0, labels_differ=0)
    graphs, members, scores = {}, [], []
    for i in range(n_members):
        weights = rng.normal(0, 0.1, (64, N_CLASSES)).astype(np.float32)
        nodes = [
            helper.make_node("MatMul", ["tabular", "w"], ["z"]),
            helper.make_node("Softmax", ["z"], ["scores"], axis=1),
        ]
        graph = helper.make_graph(
            nodes,
            "linear",
            [helper.make_tensor_value_info("tabular", TensorProto.FLOAT, ["n_rows", 64])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n_rows", N_CLASSES])],
            [numpy_helper.from_array(weights, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        member = f"linear_{i:03d}"
        graphs[member] = model.SerializeToString(deterministic=True)
        members.append(MemberSpec(member, ("tabular",), {"framework": "onnx", "class": "linear"}, {"": 17}, proof))
        scores.append(ort.InferenceSession(graphs[member], providers=["CPUExecutionProvider"]).run(None, rows)[0])
    bundle = Bundle(
        name=name,
        task="classification",
        inputs=(TensorSpec("tabular", DataType.FP32, (-1, 64)),),
        classes=tuple(range(N_CLASSES)),
        n_outputs=N_CLASSES,
        members=tuple(members),
        combiner=LinearPool(np.full(n_members, 1 / n_members)),
    )
    write_bundle(path, bundle, graphs, Samples(rows, outputs_of(bundle, np.asarray(scores, np.float64))))


def _build(training: Callable[[], Training], path: Path, name: str) -> None:
    """Train on the first rows, judge on the others, and write the bundle."""
    from widedeep import export

    trained = training()
    held_out = {key: array[trained.n_train :] for key, array in trained.rows.items()}
    labels = trained.labels[trained.n_train :]
    reads = {"deep": "image"}
    members = {
        key: export.convert(model, {name: held_out[name] for name in [reads.get(key, "tabular")]})
        for key, model in trained.models().items()
    }
    export.build(
        path,
        name=name,
        members=members,
        scores=_equal_scores(list(members), labels),
        target=labels,
        rows=held_out,
        learners=_uniform(),
        golden_rows=16,
    )


WORKLOADS = ("seed", "tiny", "wide")

_MAKERS: dict[str, Callable[[Path, str], None]] = {
    **{name: partial(_build, training) for name, training in TRAININGS.items()},
    "columns": _columns,
    "digits": _demo,
    **{f"many{count}": partial(_many, n_members=count) for count in (50, 100, 200)},
}


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.asarray(data.images / 16.0, np.float32), np.asarray(data.target, np.int64)


def _large(digits: np.ndarray) -> np.ndarray:
    """Return digits `(n_rows, 8, 8)` as noisy colour images `(n_rows, 64, 64, 3)`."""
    rng = np.random.default_rng(0)
    factor = _SEED_SIDE // digits.shape[1]
    large = digits.repeat(factor, axis=1).repeat(factor, axis=2)[..., np.newaxis]
    return np.asarray(large + rng.normal(0, 0.1, (*large.shape[:3], 3)), np.float32)


def _equal_scores(names: Sequence[str], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return scores by which equal weights are best.

    How good the ensemble is does not matter here, but that every member runs does: by its true scores a member may get
    no weight and need not run.
    """
    rng = np.random.default_rng(0)
    truth = np.eye(N_CLASSES)[labels]
    noise = {name: rng.dirichlet(np.ones(N_CLASSES), len(labels)) for name in names}
    return {name: 0.1 * truth + 0.9 * drawn for name, drawn in noise.items()}


def _uniform() -> tuple[Any, ...]:
    from widedeep.export.weights.catalogue import learners_for

    return tuple(learner for learner in learners_for("classification", 2, N_CLASSES) if learner.name == "uniform")


def _seed_net() -> Any:
    """Return the seed net: separable convolutions 32, 64, 64, 128, 64, 128 with two poolings between them."""
    import keras

    layers = keras.layers
    # Keras draws depthwise filters so small that the signal is lost after six of them and training does not start.
    depthwise = keras.initializers.RandomNormal(stddev=(2 / 9) ** 0.5)
    image = keras.Input((_SEED_SIDE, _SEED_SIDE, 3), name="image")
    x = image
    for i, filters in enumerate((32, 64, 64, 128, 64, 128)):
        x = layers.SeparableConv2D(filters, 3, activation="relu", depthwise_initializer=depthwise)(x)
        if i in {1, 3}:
            x = layers.MaxPooling2D(2)(x)
    return _classifier(image, x)


def _tiny_net() -> Any:
    """Return the same kind of net for 8x8x1; over one channel a depthwise filter is a single one, so Conv2D starts."""
    import keras

    layers = keras.layers
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(32, 3, activation="relu")(image)
    x = layers.SeparableConv2D(64, 3, activation="relu")(x)
    return _classifier(image, layers.MaxPooling2D(2)(x))


def _classifier(image: Any, x: Any) -> Any:
    import keras

    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dense(32, activation="relu")(x)
    net = keras.Model(image, keras.layers.Dense(N_CLASSES, activation="softmax", name="probabilities")(x))
    net.compile("rmsprop", "categorical_crossentropy", jit_compile=False)
    return net
