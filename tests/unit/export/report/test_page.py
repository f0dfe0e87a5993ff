import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from report_evidence import HOSTILE, evidence_of, parse, probabilities, training_of
from widedeep.export.report.evidence import Evidence, Examples
from widedeep.export.report.page import render
from widedeep.serving.contract.combiner import LinearPool, LogPool
from widedeep.serving.contract.tensors import DataType, TensorSpec

SVG = "{http://www.w3.org/2000/svg}"
IMAGE = TensorSpec("image", DataType.FP32, (-1, 8, 8, 1), pixel_scale=16.0)


def parsed(page: str) -> ET.Element:
    """Return the page's root; the page is well-formed XML behind its first line."""
    first, _, rest = page.partition("\n")
    assert first == "<!DOCTYPE html>"
    return parse(rest)


def titles(root: ET.Element) -> list[str]:
    return [heading.text or "" for heading in root.iter("h2")]


def words(root: ET.Element) -> str:
    return " ".join("".join(root.itertext()).split())


def examples_of(inputs: dict[str, Any], n_outputs: int = 3) -> Examples:
    n_rows = len(next(iter(inputs.values())))
    scores = {name: probabilities(n_rows, n_outputs, i) for i, name in enumerate(("deep_0", "wide_1"))}
    ensemble = probabilities(n_rows, n_outputs, 7)
    return Examples(np.arange(n_rows), ensemble.argmax(axis=1), ensemble, scores, inputs)


def full(**changes: Any) -> Evidence:
    rows = {"tabular": np.array([[1.0, np.nan, 3.0], [4.0, 5.0, 6.0]], np.float32)}
    return evidence_of(**{"training": training_of(), "examples": examples_of(rows), **changes})


def test_a_trained_bundle_has_every_section_of_a_classification() -> None:
    root = parsed(render(full()))

    assert titles(root) == [
        "Notes",
        "Leaderboard",
        "Weights",
        "Calibration",
        "Confusion matrix",
        "Accuracy and latency",
        "Optimisation history",
        "Feature importance",
        "Right where members fail",
        "Provenance",
        "Not in this bundle",
    ]
    assert "Diversity: the bundle tells of no pairs" in words(root)


def test_the_table_of_contents_leads_to_the_sections() -> None:
    root = parsed(render(full()))

    anchors = {section.get("id") for section in root.iter("section")}
    links = [link.get("href", "") for link in root.iter("a")]
    assert len(links) == len(anchors) - 1
    assert all(link.removeprefix("#") in anchors for link in links)


def test_every_drawing_says_what_it_is() -> None:
    root = parsed(render(full()))

    drawings = [svg for svg in root.iter(f"{SVG}svg") if svg.get("role") == "img"]
    assert len(drawings) > 10
    assert all(svg.get("aria-label") and svg.find(f"{SVG}title") is not None for svg in drawings)


def test_nothing_is_fetched_and_nothing_runs() -> None:
    page = render(full())

    assert "default-src 'none'" in page.replace("&#39;", "'")
    assert not re.search(r"(src|href)=\"(?!data:image/png|#)", page)
    assert not re.search(r"<(script|link|iframe|object)|url\(|@import|\son\w+=|\sstyle=", page)
    assert set(re.findall(r"https?://[^\"]+", page)) == {"http://www.w3.org/2000/svg"}


def test_names_are_text_whatever_they_hold() -> None:
    training = training_of(columns=(HOSTILE, "b", "c"))
    training["target"] = HOSTILE
    training["notes"] = [HOSTILE]
    training["members"]["wide_1"]["params"] = {HOSTILE: HOSTILE}
    page = render(full(classes=(HOSTILE, "dog", "ibex"), columns=(HOSTILE, "b", "c"), training=training))

    found: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:  # noqa: ARG002 - the parser's
            found.append(tag)

    Parser().feed(page)
    assert "script" not in found
    assert words(parsed(page)).count("<script>alert('x')</script>&\"") > 5


def test_a_bundle_without_evidence_says_what_is_missing() -> None:
    root = parsed(render(evidence_of(source=None)))

    assert titles(root) == ["Weights", "Provenance", "Not in this bundle"]
    told = words(root)
    for title in ("Leaderboard", "Calibration", "Accuracy and latency", "Optimisation history", "Feature importance"):
        assert f"{title}: " in told


def test_held_out_rows_are_called_so() -> None:
    told = words(parsed(render(evidence_of(source="held_out"))))

    assert "200 held-out rows" in told
    assert "fitted on these very rows" in told


def test_a_regression_has_predictions_in_place_of_labels() -> None:
    root = parsed(render(evidence_of(classes=(), n_values=5, training={})))

    assert "Predictions" in titles(root)
    assert not {"Calibration", "Confusion matrix"} & set(titles(root))
    assert "The first 3 of 5 outputs are shown" in words(root)


def test_images_of_examples_are_inside_the_page() -> None:
    evidence = evidence_of(
        inputs=(IMAGE,),
        training=training_of(),
        examples=examples_of({"image": np.random.default_rng(0).uniform(size=(2, 8, 8, 1)).astype(np.float32)}),
    )

    images = list(parsed(render(evidence)).iter("img"))

    assert len(images) == 2
    assert all(image.get("src", "").startswith("data:image/png;base64,") for image in images)


def test_cells_of_examples_stand_beside_who_was_right() -> None:
    told = words(parsed(render(full())))

    assert "bmissing" in told.replace(" ", "")
    assert "✓" in told
    assert "✗" in told


def test_a_thousand_classes_and_two_hundred_members_stay_small() -> None:
    members = [f"member_{i}" for i in range(200)]
    classes = [f"class {i}" for i in range(1000)]
    weights = np.random.default_rng(0).uniform(size=(200, 1000))

    page = render(
        evidence_of(classes=classes, members=members, combiner=LinearPool(weights), n_rows=60, source="held_out")
    )

    root = parsed(page)
    assert len(page) < 1_000_000
    assert "The matrix of 1,000 classes would not be legible" in words(root)
    assert "further members rank lower" in words(root)
    assert "The first 30 of 1,000 classes are shown" in words(root)


@pytest.mark.parametrize("n_rows", [1, 2])
@pytest.mark.parametrize("classes", [(), ("no", "yes")])
def test_hardly_any_rows_are_no_error(n_rows: int, classes: tuple[str, ...]) -> None:
    parsed(render(evidence_of(classes=classes, n_rows=n_rows)))


def test_stacking_shows_its_weights_by_class() -> None:
    told = words(parsed(render(evidence_of(combiner=LogPool(np.random.default_rng(0).normal(size=(3, 2, 3)))))))

    assert "Weights by class" in told
    assert "logistic regression" in told


def test_a_search_of_failures_only_is_told() -> None:
    training = training_of()
    for trial in training["trials"]:
        trial |= {"state": "failed", "loss": None, "latency_us": None}

    assert "6 failed" in words(parsed(render(full(training=training))))


def test_training_that_tells_little_is_enough() -> None:
    parsed(render(evidence_of(training={"format": 1})))


def test_rows_with_weights_are_said_to_count_the_same() -> None:
    evidence = full()
    assert evidence.judged is not None
    weighted = replace(evidence, judged=replace(evidence.judged, has_weights=True))

    assert "here each counts the same" in words(parsed(render(weighted)))
    assert "here each counts the same" not in words(parsed(render(evidence)))


def test_why_a_member_was_taken_stands_beside_its_weight() -> None:
    training = training_of()
    training["members"]["deep_0"]["reason"] = "errs on other rows"

    assert "errs on other rows" in words(parsed(render(full(training=training))))


def test_long_parameters_are_cut_but_all_of_them_show_when_pointed_at() -> None:
    training = training_of()
    training["members"]["deep_0"]["params"] = {f"parameter_{i}": i for i in range(30)}

    root = parsed(render(full(training=training)))

    told = [cell for cell in root.iter("small") if "parameter_0 0" in (cell.text or "")]
    assert (told[0].text or "").endswith("…")
    assert "parameter_29 29" in told[0].get("title", "")
