import numpy as np
from report_evidence import parse
from widedeep.export.report.heatmap import heatmap

SVG = "{http://www.w3.org/2000/svg}"


def test_cells_are_as_strong_as_their_values_and_negative_ones_have_the_other_colour() -> None:
    drawn = heatmap(np.array([[1.0, -0.5]]), ["a"], ["b", "c"], title="Map", text=str)

    cells = list(parse(drawn.text).iter(f"{SVG}rect"))
    assert [cell.get("class") for cell in cells] == ["heat", "other"]
    assert [cell.get("fill-opacity") for cell in cells] == ["1.00", "0.52"]
    assert cells[1].findtext(f"{SVG}title") == "a, c: -0.5"


def test_many_cells_carry_no_text_but_tooltips() -> None:
    names = [f"class {i}" for i in range(30)]

    root = parse(heatmap(np.eye(30), names, names, title="Map", text=str).text)

    assert len(list(root.iter(f"{SVG}rect"))) == 900
    assert len(list(root.iter(f"{SVG}text"))) == 60
