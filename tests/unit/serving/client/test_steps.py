"""The client's decisions, driven by hand: `Script` answers calls and lets time pass; nothing touches a network."""

import json
import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from widedeep.serving.client.backoff import Backoff
from widedeep.serving.client.steps import Call, Conversation, Limits, Wait
from widedeep.serving.contract.errors import (
    BundleError,
    DeadlineExceeded,
    InvalidInput,
    NotFound,
    NotReady,
    WidedeepError,
)
from widedeep.serving.contract.tensors import DataType, TensorSpec
from widedeep.serving.protocol import codec
from widedeep.serving.protocol import messages as m
from widedeep.serving.protocol.service import DIGEST_PROPERTY, INPUTS_PROPERTY, OTHER_BUNDLE

ROWS = np.arange(6, dtype=np.float32).reshape(3, 2)


class Script:
    """A server that answers `total`, the sum of each row of `x`, and a clock that only waits and calls move."""

    def __init__(self, *, only: str = "", **limits: int) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self.calls: list[Call] = []
        self.answers: list[Callable[[Call], Any]] = []  # come before the server's own
        self.inputs = (TensorSpec("x", DataType.FP32, (-1, 2), feature_names=("a", "b")),)
        self.version = "1"
        self.digest = ""
        self.conversation = Conversation(
            "sums",
            "",
            limits=Limits(**{"max_rows": 100, "max_message_bytes": 1 << 20, **limits}),
            backoff=Backoff(first_s=1.0, most_s=4.0),
            clock=lambda: self.now,
            random=lambda: 1.0,
            digest=only,
        )

    def run(self, steps: Any) -> Any:
        try:
            step = next(steps)
            while True:
                if isinstance(step, Wait):
                    self.waits.append(step.seconds)
                    self.now += step.seconds
                    step = next(steps)
                    continue
                self.calls.append(step)
                try:
                    response = self.answers.pop(0)(step) if self.answers else self.serve(step)
                except WidedeepError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as end:
            return end.value

    def predict(self, data: Any = ROWS, timeout_s: float = 10.0) -> Any:
        return self.run(self.conversation.predict(data, None, timeout_s, "id-7"))

    def serve(self, call: Call) -> Any:
        if call.method.name == "ModelMetadata":
            return m.ModelMetadataResponse(
                name="sums",
                versions=[self.version],
                outputs=[m.ModelMetadataResponse.TensorMetadata(name="total", datatype="FP32", shape=[-1, 1])],
                properties={
                    INPUTS_PROPERTY: json.dumps([spec.to_json() for spec in self.inputs]),
                    DIGEST_PROPERTY: self.digest,
                },
            )
        request: Any = call.request
        total = (
            codec.RequestReader(self.inputs, (), ()).inputs(request)[0][self.inputs[0].name].sum(axis=1, keepdims=True)
        )
        return answered(total, self.version)

    def called(self) -> list[str]:
        return [call.method.name for call in self.calls]


def answered(total: Any, version: str = "1") -> Any:
    return codec.encode_outputs(
        {"total": total}, [codec.Requested("total")], model_name="sums", model_version=version, request_id=""
    )


def zeros(version: str = "1") -> Callable[[Call], Any]:
    """Answer `total` = 0 for every row of a request."""
    return lambda call: answered(np.zeros((cast("Any", call.request).inputs[0].shape[0], 1), np.float32), version)


def fail(error: WidedeepError) -> Callable[[Call], Any]:
    def answer(call: Call) -> Any:
        raise error

    return answer


def test_the_inputs_are_learned_once_and_kept() -> None:
    script = Script()
    for _ in range(2):
        np.testing.assert_array_equal(script.predict()["total"], [[1], [5], [9]])
    assert script.called() == ["ModelMetadata", "ModelInfer", "ModelInfer"]


def test_a_prediction_says_who_answered_what() -> None:
    answer = Script().predict()
    assert (answer.model, answer.version, answer.request_id, len(answer)) == ("sums", "1", "id-7", 3)


def test_columns_are_bound_by_the_feature_names_that_the_server_tells() -> None:
    answer = Script().predict({"b": [10, 20], "a": [1, 2]})
    np.testing.assert_array_equal(answer["total"], [[11], [22]])


def test_an_unready_server_is_asked_again_after_longer_and_longer_waits() -> None:
    script = Script()
    script.answers = [fail(NotReady("loading"))] * 4
    script.predict(timeout_s=60.0)
    assert script.waits == [1.0, 2.0, 4.0, 4.0]


def test_every_attempt_gets_the_time_that_is_left() -> None:
    script = Script()
    script.answers = [fail(NotReady("loading"))] * 2
    script.predict(timeout_s=10.0)
    assert [call.timeout_s for call in script.calls] == [10.0, 9.0, 7.0, 7.0]


def test_without_a_limit_calls_have_no_timeout() -> None:
    script = Script()
    script.predict(timeout_s=math.inf)
    assert [call.timeout_s for call in script.calls] == [None, None]


def test_no_wait_goes_beyond_the_deadline_and_the_servers_message_stays() -> None:
    script = Script()
    script.answers = [fail(NotReady("model is loading"))] * 9
    with pytest.raises(NotReady, match="model is loading") as caught:
        script.predict(timeout_s=6.5)
    assert str(caught.value) == "model is loading"
    assert script.waits == [1.0, 2.0]
    assert "3 attempts" in caught.value.__notes__[0]


def test_a_deadline_that_has_passed_calls_nothing() -> None:
    script = Script()
    with pytest.raises(DeadlineExceeded, match="before ModelMetadata could be called"):
        script.predict(timeout_s=0.0)
    assert script.calls == []


@pytest.mark.parametrize("error", [NotFound("gone"), DeadlineExceeded("late"), WidedeepError("broken")])
def test_other_failures_are_not_tried_again(error: WidedeepError) -> None:
    script = Script()
    script.answers = [fail(error)]
    with pytest.raises(type(error), match=str(error)):
        script.predict()
    assert len(script.calls) == 1


def test_rows_beyond_the_limit_of_a_call_go_in_several_and_come_back_in_order() -> None:
    script = Script(max_rows=4)
    rows = np.arange(22, dtype=np.float32).reshape(11, 2)
    np.testing.assert_array_equal(script.predict(rows)["total"][:, 0], rows.sum(axis=1))
    sent: list[Any] = [call.request for call in script.calls[1:]]
    assert [request.inputs[0].shape[0] for request in sent] == [4, 4, 3]


def test_no_message_is_longer_than_the_limit() -> None:
    script = Script(max_message_bytes=8192)
    script.predict(np.zeros((5000, 2), np.float32))
    assert len(script.calls) > 5
    assert max(call.request.ByteSize() for call in script.calls) <= 8192


def test_text_that_is_longer_than_estimated_is_split_further() -> None:
    script = Script(max_message_bytes=8192)
    script.inputs = (TensorSpec("x", DataType.BYTES, (-1, 1)),)
    script.answers = [script.serve]
    script.answers += [zeros()] * 50
    texts = ["ä" * 300] * 60
    assert len(script.predict({"x": texts})) == 60
    assert max(call.request.ByteSize() for call in script.calls) <= 8192


def test_the_version_that_answered_first_answers_all_parts() -> None:
    script = Script(max_rows=2)
    script.version = "4"
    script.predict()
    sent: list[Any] = [call.request for call in script.calls[1:]]
    assert [request.model_version for request in sent] == ["", "4"]


def test_the_bundle_that_the_inputs_were_learned_from_answers_all_parts() -> None:
    script = Script(max_rows=2)
    script.digest = "abc"

    def replaced(call: Call) -> Any:
        script.digest = "def"
        raise InvalidInput("now it is another bundle")

    script.answers = [script.serve, script.serve, replaced]
    np.testing.assert_array_equal(script.predict()["total"], [[1], [5], [9]])
    sent: list[Any] = [call.request for call in script.calls if call.method.name == "ModelInfer"]
    assert [request.parameters[DIGEST_PROPERTY].string_param for request in sent] == ["abc", "abc", "def", "def"]
    assert {request.model_version for request in sent} == {""}


def test_a_model_that_was_replaced_is_learned_anew() -> None:
    script = Script()
    script.predict()
    script.inputs = (TensorSpec("y", DataType.FP64, (-1, 2)),)
    np.testing.assert_array_equal(script.predict()["total"], [[1], [5], [9]])
    assert script.called()[2:] == ["ModelInfer", "ModelMetadata", "ModelInfer"]


def test_data_for_a_new_model_is_bound_after_learning_it() -> None:
    script = Script()
    script.predict()
    script.inputs = (TensorSpec("y", DataType.FP64, (-1, 3)),)
    np.testing.assert_array_equal(script.predict({"y": [[1, 2, 3]]})["total"], [[6]])
    assert script.called()[2:] == ["ModelMetadata", "ModelInfer"]


def test_data_that_fits_no_model_is_refused_after_one_more_look() -> None:
    script = Script()
    script.predict()
    with pytest.raises(InvalidInput, match="input 'x'"):
        script.predict({"z": [1]})
    assert script.called() == ["ModelMetadata", "ModelInfer", "ModelMetadata"]


def test_a_server_that_cannot_be_reached_is_not_ready() -> None:
    script = Script()
    script.answers = [fail(NotReady("connection refused")), fail(DeadlineExceeded("no answer"))]
    assert script.run(script.conversation.is_ready(1.0)) is False
    assert script.run(script.conversation.is_ready(1.0)) is False
    assert script.waits == []


def test_a_conversation_tied_to_one_bundle_ends_where_another_is_served() -> None:
    script = Script(only="abc")
    script.digest = "abc"
    np.testing.assert_array_equal(script.predict()["total"], [[1], [5], [9]])
    script.digest = "def"
    script.answers = [fail(InvalidInput("made for another bundle"))]
    with pytest.raises(BundleError, match="model 'sums': expected the bundle of digest 'abc', served is 'def'"):
        script.predict()
    assert script.called() == ["ModelMetadata", "ModelInfer", "ModelInfer", "ModelMetadata"]


def test_servers_that_have_different_bundles_are_tried_until_one_fits() -> None:
    script = Script()
    script.digest = "abc"
    refuse = fail(InvalidInput(f"{OTHER_BUNDLE} 'abc'; model 'sums' is now another one"))
    script.answers = [script.serve, refuse, script.serve, refuse, script.serve, script.serve]
    np.testing.assert_array_equal(script.predict()["total"], [[1], [5], [9]])
    assert script.called() == ["ModelMetadata", "ModelInfer"] * 3
    assert script.waits == [1.0]
    script.answers = [refuse, script.serve] * 20
    with pytest.raises(InvalidInput, match=OTHER_BUNDLE):
        script.predict()
    assert script.now < 20
