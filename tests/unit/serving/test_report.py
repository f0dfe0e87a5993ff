from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_bundle import CERTIFICATE
from widedeep.serving.contract.bundle import Bundle, FusedSpec, read_bundle
from widedeep.serving.contract.combiner import LinearPool, LogPool, MeanPool
from widedeep.serving.contract.errors import BundleError
from widedeep.serving.contract.tensors import DataType, TensorSpec
from widedeep.serving.report import describe_bundle

SELECTION = {
    "chosen": "log_pool",
    "reason": "the simplest within one standard error of the best",
    "members": {"deep": {"log_loss": 0.25, "accuracy": 0.9}, "wide": {"log_loss": 0.5, "accuracy": 0.8}},
    "results": {"uniform": {"log_loss": 0.21, "note": "text"}, "log_pool": {"log_loss": 0.2}},
    "diversity": {
        "pairwise_disagreement": {"deep": {"deep": 0.0, "wide": 0.125}, "wide": {"deep": 0.125, "wide": 0.0}},
        "error_correlation": {"deep": {"deep": 1.0, "wide": 0.75}, "wide": {"deep": 0.75, "wide": 1.0}},
    },
}


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    return read_bundle(bundle_path)


def section(bundle: Bundle, title: str) -> list[list[str]]:
    """Return the rows below a title, split into words, up to the next empty line."""
    lines = describe_bundle(bundle).splitlines()
    start = lines.index(title) + 1
    end = lines.index("", start) if "" in lines[start:] else len(lines)
    return [line.split() for line in lines[start:end]]


def test_it_says_what_the_bundle_is(bundle: Bundle) -> None:
    head = describe_bundle(replace(bundle, created_by={"widedeep": "1.2"})).splitlines()[:4]
    assert head == [
        "animals: classification, 3 outputs, 2 members",
        f"digest {bundle.digest}",
        "classes cat, dog, owl",
        "created by widedeep 1.2",
    ]


def test_a_fused_graph_has_a_line(bundle: Bundle) -> None:
    certificate = replace(CERTIFICATE, probes=7, max_abs_diff=1.5e-7)
    fused = FusedSpec(("deep", "wide"), ("image", "tabular"), {"": 17}, certificate)
    line = "fused graph of deep, wide: 64 rows and 7 probes differ by 1.5e-07 at most"
    assert line in describe_bundle(replace(bundle, fused=fused)).splitlines()
    assert "fused" not in describe_bundle(bundle)


def test_inputs_and_members_have_a_row_each(bundle: Bundle) -> None:
    assert section(bundle, "Inputs")[2:] == [
        ["image", "FP32", "[-1,", "2,", "4]", "yes", "yes", "-"],
        ["tabular", "FP32", "[-1,", "3]", "no", "yes", "-", "a,", "b,", "c"],
    ]
    assert [row[0] for row in section(bundle, "Members")[2:]] == ["deep", "wide"]


def test_certificates_tell_what_was_compared_and_how_closely(bundle: Bundle) -> None:
    deep = replace(bundle.members[0], certificate=replace(bundle.members[0].certificate, probes=7, max_abs_diff=1.5e-7))
    rows = section(replace(bundle, members=(deep, bundle.members[1])), "Parity with the trained models")
    assert rows[2][:7] == ["deep", "64", "7", "1.5e-07", "0", "0", "CPU"]


def test_certificates_tell_what_was_probed_and_what_has_no_answer(bundle: Bundle) -> None:
    coverage = {"thresholds": (5, 5), "splits": (9, 12)}
    certificate = replace(bundle.members[0].certificate, worst_kind="zero", left_out=3, overflowed=2, coverage=coverage)
    deep = replace(bundle.members[0], certificate=certificate)
    row = section(replace(bundle, members=(deep, bundle.members[1])), "Parity with the trained models")[2]
    assert " ".join(row).endswith("zero 3 2 5 of 5 thresholds, 9 of 12 splits")


def test_inputs_tell_which_odd_values_requests_may_hold(bundle: Bundle) -> None:
    colour = TensorSpec("colour", DataType.BYTES, (-1, 1), categories=("red",), closed_categories=True)
    strict = replace(bundle.inputs[0], allow_inf=False)
    rows = section(replace(bundle, inputs=(strict, bundle.inputs[1], colour)), "Inputs")[2:]
    assert [row[-3:] for row in (rows[0], rows[2])] == [["yes", "no", "-"], ["-", "-", "no"]]


@pytest.mark.parametrize(
    ("combiner", "rows"),
    [
        (LinearPool(np.array([0.6, 0.4])), [["deep", "0.6000"], ["wide", "0.4000"]]),
        (
            LinearPool(np.array([0.6, 0.4]), temperatures=np.array([1.5, 1.0])),
            [["deep", "0.6000", "1.500"], ["wide", "0.4000", "1.000"]],
        ),
        (LinearPool(np.array([[1.0, 2, 3], [0, 0, 3]])), [["deep", "2.0000"], ["wide", "1.0000"]]),
        (LogPool(np.array([-0.5, 2.0])), [["deep", "-0.5000"], ["wide", "2.0000"]]),
        (
            LogPool(np.stack([np.full((3, 3), -1.0), np.zeros((3, 3))], axis=1)),
            [["deep", "1.0000"], ["wide", "0.0000"]],
        ),
    ],
)
def test_weights_are_shown_by_member(bundle: Bundle, combiner: Any, rows: list[list[str]]) -> None:
    shown = section(replace(bundle, combiner=combiner), f"Combiner: {combiner.kind}")
    assert shown[2:] == rows


def test_the_parts_of_a_mean_are_shown_one_after_another(bundle: Bundle) -> None:
    mean = MeanPool((LinearPool(np.array([1.0, 0.0])), LogPool(np.array([0.0, 1.0]))))
    shown = section(replace(bundle, combiner=mean), "Combiner: mean_pool")
    assert [row for row in shown if len(row) == 1] == [["linear_pool"], ["log_pool"]]
    assert [row[1] for row in shown if row[0] == "deep"] == ["1.0000", "0.0000"]


def test_how_the_combiner_was_chosen_is_told(bundle: Bundle) -> None:
    chosen = replace(bundle, selection=SELECTION)
    assert section(chosen, "Members on held-out rows")[2:] == [
        ["deep", "0.2500", "0.9000"],
        ["wide", "0.5000", "0.8000"],
    ]
    assert section(chosen, "Combiners on held-out rows")[2:] == [["uniform", "0.2100"], ["log_pool", "0.2000"]]
    assert "Combiner: log_pool" in describe_bundle(chosen)
    assert describe_bundle(chosen).endswith("the simplest within one standard error of the best")


def test_diversity_is_a_matrix_of_member_by_member(bundle: Bundle) -> None:
    shown = section(replace(bundle, selection=SELECTION), "Pairwise disagreement of members on held-out rows")
    assert shown[0] == ["deep", "wide"]
    assert shown[2:] == [["deep", "0.0000", "0.1250"], ["wide", "0.1250", "0.0000"]]
    assert "Error correlation of members on held-out rows" in describe_bundle(replace(bundle, selection=SELECTION))


@pytest.mark.parametrize(
    "selection",
    [{"members": [1]}, {"results": {"uniform": 0.2}}, {"diversity": 1}, {"diversity": {"pairwise": {"deep": 1}}}],
)
def test_a_selection_of_another_form_is_refused(bundle: Bundle, selection: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="selection: expected tables of numbers by name"):
        describe_bundle(replace(bundle, selection=selection))


def test_characters_that_steer_a_terminal_are_not_passed_on(bundle: Bundle) -> None:
    shown = describe_bundle(replace(bundle, selection={"reason": "größer\x1b]0;title\x07"}))
    assert shown.endswith("größer?]0;title?")


def test_a_bundle_whose_weights_were_given_says_nothing_of_a_choice(bundle: Bundle) -> None:
    assert "held-out" not in describe_bundle(bundle)
