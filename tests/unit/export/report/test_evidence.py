import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_evidence import evidence_of, probabilities, training_of
from small_bundle import softmax_graph
from widedeep.export.report import evidence as module
from widedeep.export.report.evidence import read_evidence
from widedeep.serving.contract.bundle import Samples, write_bundle
from widedeep.serving.contract.errors import BundleError

TARGET = np.random.default_rng(0).integers(0, 3, 50)
SCORES = {f"scores/{name}": probabilities(50, 3, i) for i, name in enumerate(("deep_0", "wide_1"))}


def _archive(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _write(folder: Path, evidence: dict[str, bytes]) -> Path:
    bundle = evidence_of().bundle
    graph = softmax_graph("tabular", (3,), 3, 0)
    write_bundle(folder / "1", bundle, dict.fromkeys(("deep_0", "wide_1"), graph), Samples({}, {}), evidence)
    return folder / "1"


def test_test_rows_are_preferred_and_their_answers_taken_as_they_are(tmp_path: Path) -> None:
    given = probabilities(50, 3, 9)
    test = _archive(target=TARGET, ensemble=given, **SCORES)
    path = _write(tmp_path, {"test.npz": test, "held_out.npz": _archive(target=TARGET, **SCORES)})

    judged = read_evidence(path).judged

    assert judged is not None
    assert judged.source == "test"
    assert np.array_equal(judged.ensemble, given)
    assert "50 untouched test rows" in judged.words
    assert not judged.has_weights


def test_of_held_out_rows_the_bundles_combiner_makes_the_answers(tmp_path: Path) -> None:
    judged = read_evidence(_write(tmp_path, {"held_out.npz": _archive(target=TARGET, **SCORES)})).judged

    assert judged is not None
    assert judged.source == "held_out"
    assert judged.ensemble == pytest.approx(np.mean(list(SCORES.values()), axis=0), abs=1e-6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_of_many_rows_evenly_spread_ones_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Any) -> None:
    monkeypatch.setattr(module, "MAX_VALUES", 2 * 3 * 10)
    monkeypatch.setattr(module, "_READ_BYTES", 7 * 3 * 8)
    held_out = _archive(target=TARGET, **{key: np.asarray(scores, order=order) for key, scores in SCORES.items()})

    judged = read_evidence(_write(tmp_path, {"held_out.npz": held_out})).judged

    assert judged is not None
    places = np.linspace(0, 49, 10).round().astype(int)
    assert judged.n_rows == 50
    assert np.array_equal(judged.target, TARGET[places])
    assert np.array_equal(judged.scores[1], SCORES["scores/wide_1"][places].astype(np.float32))
    assert "10 evenly spread ones of 50" in judged.words


def test_a_bundle_without_evidence_has_a_description_only(tmp_path: Path) -> None:
    evidence = read_evidence(_write(tmp_path, {}))

    assert (evidence.judged, evidence.examples, dict(evidence.training)) == (None, None, {})
    assert evidence.names == ("deep_0", "wide_1")


def test_what_training_tells_is_read(tmp_path: Path) -> None:
    evidence = read_evidence(_write(tmp_path, {"training.json": json.dumps(training_of()).encode()}))

    assert evidence.about("wide_1")["family"] == "wide"
    assert evidence.about("nobody") == {}


@pytest.mark.parametrize(
    ("file", "data"),
    [
        ("training.json", b"{"),
        ("training.json", b'{"format": 2}'),
        ("test.npz", b"no archive"),
        ("test.npz", _archive(target=TARGET)),
        ("test.npz", _archive(target=TARGET + 5, ensemble=probabilities(50, 3, 9), **SCORES)),
        ("test.npz", _archive(target=TARGET, **{key: scores[:20] for key, scores in SCORES.items()})),
        ("test.npz", _archive(target=TARGET, **{key: scores[:, :2] for key, scores in SCORES.items()})),
        ("test.npz", _archive(target=TARGET[:0], **SCORES)),
        ("examples.npz", _archive(index=np.array([0]))),
    ],
)
def test_damaged_evidence_is_refused(tmp_path: Path, file: str, data: bytes) -> None:
    with pytest.raises(BundleError, match="evidence"):
        read_evidence(_write(tmp_path, {file: data}))


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, {"training.json": json.dumps(training_of()).encode()})
    (path / "evidence" / "training.json").write_text("{}")

    with pytest.raises(BundleError, match="has changed"):
        read_evidence(path)


def test_weights_of_rows_are_noticed(tmp_path: Path) -> None:
    judged = read_evidence(
        _write(tmp_path, {"held_out.npz": _archive(target=TARGET, weights=TARGET + 1.0, **SCORES)})
    ).judged

    assert judged is not None
    assert judged.has_weights
