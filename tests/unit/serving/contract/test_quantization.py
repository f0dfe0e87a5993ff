import json
from dataclasses import replace

import numpy as np
import pytest
from small_bundle import CERTIFICATE
from widedeep.serving.contract.bundle import Bundle, MemberSpec
from widedeep.serving.contract.combiner import LinearPool
from widedeep.serving.contract.quantization import Quantization
from widedeep.serving.contract.tensors import DataType, TensorSpec
from widedeep.serving.report import describe_bundle

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
FLOAT = MemberSpec("deep", ("image",), {"framework": "keras", "class": "Functional"}, {"": 17}, CERTIFICATE)
QUANTIZATION = Quantization(
    method="by hand",
    calibration_rows=512,
    held_out_rows=360,
    loss_before=0.25,
    loss_after=0.2525,
    bound=0.01,
    labels_differ=3,
    max_abs_diff=0.125,
    tolerance=2e-3,
)
INT8 = replace(FLOAT, quantization=QUANTIZATION)


def read_back(spec: MemberSpec, **more: object) -> MemberSpec:
    return MemberSpec.from_json(json.loads(json.dumps(spec.to_json())) | more)


def bundle(task: str, **parts: object) -> Bundle:
    image = TensorSpec("image", DataType.FP32, (-1, 2))
    pool = LinearPool(np.ones(1), normalize=task == "classification")
    return Bundle("b", task, (image,), members=(INT8,), combiner=pool, n_outputs=2, **parts)  # type: ignore[arg-type]


def test_what_int8_costs_is_read_back_as_it_was_written() -> None:
    assert read_back(INT8).quantization == QUANTIZATION


def test_a_member_in_float_says_nothing_of_it() -> None:
    assert "quantization" not in FLOAT.to_json()
    assert read_back(FLOAT).quantization is None


def test_keys_that_a_newer_version_adds_are_passed_over() -> None:
    assert read_back(INT8, quantization={**QUANTIZATION.to_json(), "speed_up": 2.5}).quantization == QUANTIZATION


def test_golden_rows_of_an_int8_member_have_the_wider_tolerance_on_every_provider() -> None:
    assert (FLOAT.tolerance(CPU), FLOAT.tolerance(CUDA)) == (1e-5, 1e-4)
    assert (INT8.tolerance(CPU), INT8.tolerance(CUDA)) == (2e-3, 2e-3)
    small = replace(FLOAT, quantization=replace(QUANTIZATION, tolerance=2e-5))
    assert (small.tolerance(CPU), small.tolerance(CUDA)) == (2e-5, 1e-4)


@pytest.mark.parametrize(
    ("task", "parts", "bound"),
    [("classification", {"classes": ("a", "b")}, "0.01"), ("regression", {"classes": ()}, "1.00%")],
)
def test_inspect_states_both_losses_and_the_bound(task: str, parts: dict[str, object], bound: str) -> None:
    lines = describe_bundle(bundle(task, **parts)).splitlines()
    start = lines.index("Members in int8")
    assert lines[start + 1] == "by hand"
    assert lines[start + 4].split() == ["deep", "512", "360", "0.25", "0.2525", bound, "3", "0.12", "0.002"]


def test_inspect_does_not_speak_of_int8_without_such_members() -> None:
    plain = bundle("classification", classes=("a", "b"))
    assert "int8" not in describe_bundle(replace(plain, members=(FLOAT,)))
