import re
from dataclasses import replace
from html.parser import HTMLParser

from metric_snapshots import snapshot
from widedeep.serving.online.metrics.markup import Markup, element
from widedeep.serving.online.metrics.page import PAGE_POLICY, render
from widedeep.serving.online.metrics.snapshot import Snapshot
from widedeep.serving.online.metrics.status import status
from widedeep.serving.online.view import Entry, State
from widedeep.serving.remote.copy import State as Store

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=y>"


class Parsed(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(of: Snapshot) -> Parsed:
    return Parsed(render(status(of)))


def test_the_page_tells_of_models_members_and_how_calls_ended_without_a_script() -> None:
    text = parsed(snapshot()).text
    for told in (
        "digits",
        "Version 2",
        "linear_pool",
        "nnls",
        "it is best",
        "keras · CPU",
        "0.700",
        "DEADLINE_EXCEEDED",
    ):
        assert told in text
    assert re.search(r"Latency p50\s*35.0 ms", text)  # the middle of 20 to 50 ms
    assert "overloaded" in text


def test_versions_that_cannot_be_served_are_there_with_their_reason() -> None:
    entries = [Entry("digits", 2, State.READY), Entry("digits", 3, State.UNAVAILABLE, "bundle.json: it is damaged")]
    page = parsed(snapshot(entries=entries))
    assert "bundle.json: it is damaged" in page.text
    assert ("span", {"class": "chip warn"}) in page.tags


def test_nothing_from_outside_becomes_markup_whatever_it_is_called() -> None:
    seen = snapshot().versions[0]
    facts = replace(seen.facts, name=HOSTILE, chosen=HOSTILE, reason=HOSTILE, digest=HOSTILE)
    entries = [Entry(HOSTILE, 2, State.READY, HOSTILE), Entry(HOSTILE, 3, State.UNAVAILABLE, HOSTILE)]
    store = Store(HOSTILE, is_up=False, trouble=HOSTILE, left_out={(HOSTILE, 3): HOSTILE})
    changes = {"entries": entries, "load_failures": {HOSTILE: 1}, "front_end": HOSTILE, "store": store}
    hostile = parsed(snapshot(versions=[replace(seen, facts=facts)], **changes))
    entries = [Entry("digits", 2, State.READY, "x"), Entry("digits", 3, State.UNAVAILABLE, "x")]
    plain = parsed(snapshot(entries=entries, store=Store("x", is_up=False, trouble="x", left_out={("x", 3): "x"})))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in plain.tags]
    assert hostile.text.count(HOSTILE) >= 10


def test_an_attribute_cannot_be_left_from_within() -> None:
    assert element("p", title='"><b>') == '<p title="&quot;&gt;&lt;b&gt;"></p>'
    assert element("p", "a<b", Markup("<i></i>"), ["c&d"]) == "<p>a&lt;b<i></i>c&amp;d</p>"


def test_the_policy_allows_this_style_and_script_and_nothing_else() -> None:
    assert PAGE_POLICY.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in PAGE_POLICY
    page = parsed(snapshot())
    assert not [
        attributes for _, attributes in page.tags if "style" in attributes or any(n[:2] == "on" for n in attributes)
    ]
    sources = [a.get("src") or a.get("href") or "" for tag, a in page.tags]
    assert {source for source in sources if source} == {"data:,", "/metrics", "/status.json", "/v2/health/ready"}


def test_a_server_that_is_still_loading_says_so() -> None:
    page = parsed(Snapshot(is_ready=False, started_s=0, now_s=0))
    assert "not ready" in page.text
    assert "No model is loaded yet." in page.text
    assert "No calls yet." in page.text


def test_the_layout_changes_with_what_is_drawn_and_not_with_numbers() -> None:
    before = status(snapshot())
    assert status(snapshot(calls_under_way=9, now_s=2000.0, is_ready=False))["layout"] == before["layout"]
    entries = [Entry("digits", 2, State.READY)]
    assert status(snapshot(entries=entries))["layout"] != before["layout"]
    assert status(snapshot(refusals={"overloaded": 4, "invalid": 1}))["layout"] != before["layout"]


def test_a_store_is_shown_with_what_is_wrong_with_it_and_with_what_could_not_be_copied() -> None:
    copying = Store("s3://bucket/models")
    page = parsed(Snapshot(is_ready=False, started_s=0, now_s=0, store=copying))
    assert re.search(r"s3://bucket/models\s+first copy under way", page.text)
    copied = replace(copying, is_copying=False, is_up=True, seen_s=1000.0)
    assert re.search(r"s3://bucket/models\s+copied", parsed(snapshot(store=copied)).text)
    left_out = replace(copied, left_out={("digits", 3): "samples.npz is damaged"})
    assert re.search(r"digits version 3\s+left out\s+samples.npz is damaged", parsed(snapshot(store=left_out)).text)
    away = replace(left_out, is_up=False, trouble="no answer")
    page = parsed(snapshot(store=away))
    assert re.search(r"s3://bucket/models\s+cannot be read", page.text)
    assert "no answer" in page.text
    assert "Store" not in parsed(snapshot()).text
    layouts = [status(snapshot(store=store))["layout"] for store in (None, copying, copied, left_out, away)]
    assert len(set(layouts)) == 5
    assert status(snapshot(store=replace(copied, seen_s=1001.0)))["layout"] == layouts[2]


def test_workers_that_are_away_are_told_of() -> None:
    assert "1 of 4" in parsed(snapshot(n_workers=4)).text
