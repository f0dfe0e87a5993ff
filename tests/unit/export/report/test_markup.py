import pytest
from report_evidence import parse
from widedeep.export.report.markup import Html, escaped, group, tag


def test_text_and_attributes_are_escaped() -> None:
    hostile = "<script>\"'&"

    made = tag("p", hostile, title=hostile).text

    assert "<script>" not in made
    assert (root := parse(made)).text == hostile
    assert root.get("title") == hostile


@pytest.mark.parametrize("text", ["\x00", "\x1b[31m", "\ud800", "\ufffe"])
def test_characters_that_no_page_may_hold_are_replaced(text: str) -> None:
    made = tag("p", text).text

    made.encode()
    parse(made)
    assert "\ufffd" in made


def test_markup_is_taken_as_it_is_and_none_is_left_out() -> None:
    assert tag("p", Html("<b>1</b>"), None, 2, class_="x", id=None).text == '<p class="x"><b>1</b>2</p>'


def test_only_void_elements_close_themselves() -> None:
    assert tag("br").text == "<br />"
    assert tag("span").text == "<span></span>"


def test_an_attribute_may_be_called_as_the_element_is() -> None:
    assert tag("meta", name_="viewport").text == '<meta name="viewport" />'


def test_coordinates_have_two_digits_at_most() -> None:
    assert tag("rect", x=1 / 3, y=2.0, rx=-0.5).text == '<rect x="0.33" y="2" rx="-0.5"></rect>'


def test_a_group_escapes_its_text() -> None:
    assert group(["<", tag("b", "x")]).text == "&lt;<b>x</b>"
    assert escaped("'") == "&#39;"
