import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from widedeep.serving.online.call import Call, spelled


def test_the_id_is_the_messages_then_the_callers_then_a_new_one() -> None:
    metadata = [("user-agent", "x"), ("x-request-id", "sent")]
    assert Call("ModelInfer", metadata, "given").id == "given"
    assert Call("ModelInfer", metadata).id == "sent"
    made = Call("ModelInfer", [])
    assert re.fullmatch("[0-9a-f]{16}", made.id)
    assert made.id == made.id
    assert made.trailer == (("x-request-id", made.id),)


def test_an_id_may_come_later_and_an_empty_one_is_none() -> None:
    call = Call("ModelInfer", [("x-request-id", "sent")])
    call.identify("")
    assert call.id == "sent"
    call.identify("given")
    assert call.id == "given"


@pytest.mark.parametrize("sent", ["", b"bytes"])
def test_what_is_no_id_is_not_taken(sent: str | bytes) -> None:
    assert re.fullmatch("[0-9a-f]{16}", Call("ModelInfer", [("x-request-id", sent)]).id)


@given(st.text(min_size=1))
def test_any_text_is_spelled_in_characters_that_may_stand_in_a_header(text: str) -> None:
    assert re.fullmatch(r"[!-~]{1,128}", spelled(text))


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128))
def test_a_plain_id_is_left_as_it_is(text: str) -> None:
    assert spelled(text) == text
