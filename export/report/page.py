"""The page: every section that the bundle has something for, and a word on each that it has not.

The page needs no network and runs no script; its policy forbids both, so nothing that a name smuggled in could act.
"""

import base64
import hashlib
from pathlib import Path

from .calibration import calibration
from .confusion import confusion
from .diversity import diversity
from .evidence import Evidence, read_evidence
from .front import front
from .history import history
from .importance import importance
from .judgement import judge
from .leaderboard import leaderboard
from .markup import Content, Html, tag
from .provenance import provenance
from .residuals import residuals
from .samples import samples
from .section import Absent, Section
from .style import STYLE
from .summary import kind_of, notes, summary
from .weights import weights


def make_report(bundle: str | Path) -> str:
    """Return the report of a bundle as one HTML file, which is well-formed XML, too.

    Raises:
        BundleError: it is no bundle, has changed, or an evidence file is damaged.
    """
    return render(read_evidence(Path(bundle)))


def render(evidence: Evidence) -> str:
    """Return the page that tells the evidence."""
    judgement = judge(evidence)
    found = (
        leaderboard(evidence, judgement),
        weights(evidence),
        diversity(evidence),
        calibration(evidence, judgement),
        confusion(evidence),
        residuals(evidence),
        front(evidence),
        history(evidence),
        importance(evidence),
        samples(evidence),
        provenance(evidence),
    )
    sections = [part for part in found if isinstance(part, Section)]
    absent = [part for part in found if isinstance(part, Absent)]
    body = tag(
        "div",
        tag(
            "header",
            tag("p", _kicker(evidence), class_="kicker"),
            tag("h1", evidence.bundle.name),
            summary(evidence, judgement),
            notes(evidence),
        ),
        tag("nav", *(tag("a", part.title, href=f"#{part.anchor}") for part in sections), aria_label="Sections"),
        tag("main", *map(_section, sections), _absent(absent)),
        tag("footer", f"Written by widedeep report from the bundle {evidence.bundle.digest[:12]}."),
        class_="page",
    )
    title = f"{evidence.bundle.name}: report of an ensemble"
    return "<!DOCTYPE html>\n" + tag("html", _head(title), tag("body", body), lang="en").text + "\n"


def _head(title: str) -> Html:
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'"
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(STYLE)),
    )


def _kicker(evidence: Evidence) -> str:
    target = evidence.training.get("target")
    return kind_of(evidence) + (f" · target {target}" if target else "")


def _section(part: Section) -> Html:
    return tag("section", tag("h2", part.title), tag("p", part.lead, class_="how"), part.body, id=part.anchor)


def _absent(parts: list[Absent]) -> Html | None:
    if not parts:
        return None
    lines: list[Content] = [tag("li", tag("b", part.title), f": {part.why}.") for part in parts]
    return tag("section", tag("h2", "Not in this bundle"), tag("ul", *lines), id="absent")
