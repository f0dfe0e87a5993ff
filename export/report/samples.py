"""Rows that the ensemble gets right where members fail, as they were served."""

import numpy as np

from ...serving.contract.tensors import Array, DataType, TensorSpec
from .axes import drawing, path
from .evidence import Evidence, Examples
from .markup import Content, Html, group, tag
from .png import data_uri, is_image, shown
from .section import Absent, Section
from .wording import number, percent, plain, shortened

MAX_EXAMPLES = 12
_MAX_CELLS = 14
_MAX_MEMBERS = 8
_MAX_PIXELS = 1 << 16


def samples(evidence: Evidence) -> Section | Absent:
    """Return a card a row."""
    examples = evidence.examples
    title = "Right where members fail"
    if examples is None:
        why = "no test rows were kept" if evidence.training else "the bundle was not made by widedeep train"
        return Absent(title, f"the bundle holds no such rows: {why}")
    if not len(examples.index):
        return Absent(title, "among the test rows, no member fails where the ensemble is right")
    cards = [_card(evidence, examples, i) for i in range(min(MAX_EXAMPLES, len(examples.index)))]
    lead = (
        "Test rows whose answer the ensemble has right and some members wrong, the most telling first. Such rows are "
        "why an ensemble is worth its time; they are picked, so they say nothing of how often it is right."
    )
    return Section("examples", title, lead, tag("div", *cards, class_="cards"))


def _card(evidence: Evidence, examples: Examples, i: int) -> Html:
    parts: list[Content] = [tag("h3", f"Test row {int(examples.index[i]):,}")]
    for spec in evidence.bundle.inputs:
        if spec.name in examples.inputs and is_image(spec.row_shape):
            parts.append(_image(spec, examples.inputs[spec.name][i]))
        elif spec.name in examples.inputs and len(spec.row_shape) == 2:
            parts.append(_signal(spec, examples.inputs[spec.name][i]))
    if cells := _cells(evidence, examples, i):
        rows = [group([tag("dt", shortened(name, 60)), tag("dd", shortened(text, 60))]) for name, text in cells]
        parts.append(tag("dl", *rows, class_="cells"))
    parts.append(_answers(evidence, examples, i))
    return tag("article", *parts, class_="card")


def _answers(evidence: Evidence, examples: Examples, i: int) -> Html:
    """Return the truth and who said what."""
    truth = examples.target[i]
    classes = evidence.bundle.classes
    told = classes[int(truth)] if classes else number(float(np.ravel(truth)[0]), 4)
    order = [name for name in evidence.names if name in examples.scores]
    lines = [_answer(evidence, "Ensemble", examples.ensemble[i], truth, is_ensemble=True)]
    lines += [_answer(evidence, name, examples.scores[name][i], truth) for name in order[:_MAX_MEMBERS]]
    rest = len(order) - _MAX_MEMBERS
    return group(
        [
            tag("p", "Truth: ", tag("b", str(told)), class_="truth"),
            tag("ul", *lines, class_="answers"),
            tag("p", f"and {rest:,} further members", class_="note") if rest > 0 else None,
        ]
    )


def _answer(evidence: Evidence, name: str, scores: Array, truth: Array, *, is_ensemble: bool = False) -> Html:
    who = tag("strong" if is_ensemble else "span", shortened(name, 32), class_="name")
    classes = evidence.bundle.classes
    if not classes:
        value = float(np.ravel(scores)[0])
        off = value - float(np.ravel(truth)[0])
        return tag("li", who, tag("span", f"{number(value, 4)} (off by {number(off, 2)})", class_="value"))
    label = int(np.argmax(scores))
    is_right = label == int(truth)
    words = f"{'✓' if is_right else '✗'} {shortened(str(classes[label]), 32)} ({percent(float(scores[label]), 0)})"
    return tag("li", who, tag("span", words, class_="value right" if is_right else "value wrong"))


def _cells(evidence: Evidence, examples: Examples, i: int) -> list[tuple[str, str]]:
    """Return the columns' values, the most important first."""
    cells: list[tuple[str, str]] = []
    for spec in evidence.bundle.inputs:
        if len(spec.row_shape) != 1 or spec.name not in examples.inputs:
            continue
        row = examples.inputs[spec.name][i]
        names = spec.feature_names or (
            (spec.name,) if len(row) == 1 else tuple(f"{spec.name}[{k}]" for k in range(len(row)))
        )
        cells += [(name, _cell(spec, value)) for name, value in zip(names, row.tolist(), strict=False)]
    weight: dict[str, float] = {}
    for name in evidence.names:
        for column, share in evidence.about(name).get("importance", {}).items():
            weight[column] = weight.get(column, 0.0) + float(share)
    cells.sort(key=lambda cell: -weight.get(cell[0], 0.0))
    rest = len(cells) - _MAX_CELLS
    return [*cells[:_MAX_CELLS], ("…", f"{rest:,} further columns")] if rest > 1 else cells


def _cell(spec: TensorSpec, value: object) -> str:
    if spec.datatype is DataType.BYTES and (value in (spec.missing, "")):
        return "missing"
    return plain(value)


def _image(spec: TensorSpec, row: Array) -> Html:
    pixels = shown(row, spec.pixel_scale)
    step = max(1, int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / _MAX_PIXELS))))
    pixels = np.ascontiguousarray(pixels[::step, ::step])
    height, width = pixels.shape[:2]
    class_ = "pixels" if max(height, width) <= 96 else None
    return tag("img", src=data_uri(pixels), alt=f"input {spec.name}", width=width, height=height, class_=class_)


def _signal(spec: TensorSpec, row: Array) -> Html:
    """Return a signal's channels as lines, at most a few hundred steps of at most a few channels."""
    values = np.nan_to_num(row[:: max(1, len(row) // 300), :4].astype(np.float64))
    low, high = float(values.min()), float(values.max())
    lines = [
        path(
            [
                (300 * t / max(1, len(values) - 1), 78 - 76 * (v - low) / ((high - low) or 1))
                for t, v in enumerate(channel)
            ],
            f"line {class_}",
        )
        for channel, class_ in zip(values.T, ("ensemble", "wide", "deep", "muted"), strict=False)
    ]
    return drawing(300, 80, f"input {spec.name}", *lines, class_="signal")
