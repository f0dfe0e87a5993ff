"""The status page in a real browser, over a real server."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser, Page
from small_bundle import make_bundle, rows
from widedeep.serving.client import Client
from widedeep.serving.online.server import Server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="needs Chromium on the path"),
]
HOSTILE = "<script>document.title='taken'<!--<img src=x onerror=alert(1)>"
LONG = "a_model_with_a_name_that_does_not_fit_any_column_" * 2


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture
def served(start_server: Callable[..., Server], tmp_path: Path) -> Server:
    """A server of models with good, hostile and long names, and of a version that cannot be loaded."""
    for name in ("animals", HOSTILE, LONG):
        make_bundle(tmp_path / name / "1")
    server = start_server(tmp_path, metrics=True, metrics_port=0, poll_interval_s=0.2)
    (tmp_path / "animals" / "2").mkdir()
    (tmp_path / "animals" / "2" / "bundle.json").write_text("{}" * 200)
    with Client(server.address, model="animals") as client:
        for _ in range(20):
            client.predict(rows(3))
    return server


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.metrics_port}/"


def until(page: Page, condition: Callable[[Page], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition(page):
        assert time.monotonic() < deadline, page.text()
        time.sleep(0.1)


def is_polling(page: Page) -> bool:
    return "Up to date" in page.text()


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window_and_asks_nobody_but_its_server(
    browser: Browser, served: Server, width: int, dark: bool
) -> None:
    page = browser.open(url(served), width=width, dark=dark)
    until(page, lambda page: is_polling(page) and "last" in page.text())
    assert not page.overflows()
    shown = page.text()
    for part in (HOSTILE, LONG, "linear_pool", "deep", "0.600", "unavailable", "bundle.json"):
        assert part in shown
    assert page.value("document.title") == "widedeep: ready"
    assert page.requests() == {url(served), f"{url(served)}status.json"}
    assert not page.complaints()
    assert page.screenshot().startswith(b"\x89PNG")
    assert page.value("getComputedStyle(document.body).backgroundColor") == (
        "rgb(18, 19, 22)" if dark else "rgb(247, 247, 245)"
    )


def test_numbers_and_layout_follow_the_server_without_a_reload(
    browser: Browser, served: Server, tmp_path: Path
) -> None:
    page = browser.open(url(served), width=1280)
    until(page, is_polling)
    page.value("window.kept = true")
    with Client(served.address, model="animals") as client:

        def busy(page: Page) -> bool:
            for _ in range(20):
                client.predict(rows(5))
            return bool(page.value("parseFloat(document.querySelector('[data-k=rows]').textContent) > 0"))

        until(page, lambda page: busy(page) and "seconds, curves" in page.text())
    make_bundle(tmp_path / "later" / "1")
    until(page, lambda page: "later" in page.text())
    assert page.value("window.kept")


def test_a_server_that_has_gone_is_told_of(
    browser: Browser, start_server: Callable[..., Server], bundle_path: Path
) -> None:
    server = start_server(bundle_path, metrics=True, metrics_port=0)
    page = browser.open(url(server), width=390)
    until(page, is_polling)
    server.stop()
    until(page, lambda page: "No answer from the server since" in page.text())
    assert not page.overflows()


def test_the_browser_refuses_what_the_policy_does_not_allow(browser: Browser, served: Server) -> None:
    page = browser.open(url(served), width=1280)
    until(page, is_polling)
    assert (
        page.value(f"fetch('http://localhost:{served.metrics_port}/metrics').then(() => 'sent', () => 'refused')")
        == "refused"
    )
    page.value("document.body.append(Object.assign(document.createElement('script'), {text: 'window.taken = true'}))")
    assert page.value("window.taken === undefined")


def test_without_a_script_the_page_is_a_picture_of_the_moment(browser: Browser, served: Server) -> None:
    page = browser.open(url(served), width=390, script=False)
    until(page, lambda page: "Averages since the start." in page.text())
    assert "60" in page.text()  # rows in all
    assert not page.overflows()
