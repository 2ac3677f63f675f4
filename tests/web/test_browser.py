"""The page in Chromium, where that and Playwright are installed: keyboard, contrast, widths, a restart of the service."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.web.test_web import filled, serving

playwright = pytest.importorskip("playwright.sync_api", reason="the page in a browser needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = "--no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync"
PICTURES = os.environ.get("UNTRAINED_RECON_SCREENSHOTS")

CONTRASTS = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const c = channels(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] > 0) return c;
    }
    return [255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !e.checkVisibility() || e.closest("script, noscript, style")) continue;
    const [a, b] = [light(channels(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), walk.currentNode.data.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as p:
        made = p.chromium.launch_persistent_context(str(tmp_path), executable_path=CHROMIUM, headless=True, args=ARGUMENTS.split())
        with closing(made):
            yield made


def shot(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=f"{PICTURES}/{name}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everything_can_be_read_and_nothing_runs_over(browser: Any, width: int, scheme: str) -> None:
    page = browser.pages[0]
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 900})
    with serving(filled()) as base:
        for path, name in (("/", "list"), ("/scans/doubt", "doubt"), ("/scans/running", "running"), ("/scans/none", "none")):
            page.goto(base + path)
            page.wait_for_timeout(1300)
            shot(page, f"{name}_{scheme}_{width}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            contrast, text = page.evaluate(CONTRASTS)[0]
            assert contrast >= 4.5, (contrast, text)
    assert [text for text in said if "404" not in text] == []


def test_it_is_used_by_keyboard_and_keeps_the_focus(browser: Any) -> None:
    page = browser.pages[0]
    with serving(history := filled()) as base:
        page.goto(base)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Enter")
        reached = []
        for _ in range(12):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.id"))
        assert {"run-running", "scan-doubt", "scan-good"} <= set(reached)
        page.focus("#scan-good")
        history.begin("another", "127.0.0.1")
        page.wait_for_selector("#run-another")
        assert page.evaluate("document.activeElement.id") == "scan-good"
        page.focus("#pause")
        page.keyboard.press("Space")
        assert page.get_attribute("#pause", "aria-pressed") == "true"
        history.begin("later", "127.0.0.1")
        page.wait_for_timeout(1500)
        assert page.query_selector("#run-later") is None
        page.keyboard.press("Space")
        page.wait_for_selector("#run-later")


def test_names_from_outside_run_nothing(browser: Any) -> None:
    page = browser.pages[0]
    with serving(history := filled()) as base:
        history.begin("evil", "<script>document.title='owned'</script><img src=x onerror=document.title='owned'>")
        page.goto(base)
        page.wait_for_timeout(1500)
        assert "owned" not in page.title()
        assert "<script>" in page.inner_text("#running")


def test_the_service_may_be_restarted_while_somebody_looks(browser: Any) -> None:
    page = browser.pages[0]
    with serving(filled()) as base:
        page.goto(base)
        page.wait_for_selector("#scan-good")
    page.wait_for_selector("#link.lost")
    assert "no answer since" in page.inner_text("#link")
    with serving(history := filled(), port=int(base.rpartition(":")[2])):
        history.begin("fresh", "127.0.0.1")
        page.wait_for_selector("#run-fresh", timeout=20000)
        assert page.inner_text("#link") == ""
