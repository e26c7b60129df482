"""A real browser for the tests of the studio's page: Chromium by way of Playwright."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from studios import Running

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "img" / "studio"
WIDE, NARROW = {"width": 1280, "height": 820}, {"width": 420, "height": 800}

# Marks of the current text, in code points, and where characters are on the screen.
_MARKS = """element => [...element.querySelectorAll('mark')].map(mark => {
  const before = document.createRange();
  before.selectNodeContents(element);
  before.setEndBefore(mark);
  const start = [...before.toString()].length;
  const surface = mark.textContent;
  const label = mark.dataset.tag.replace(/ \\d+$/, '');
  return { start, end: start + [...surface].length, label };
})"""
_BOX = """(element, [start, end]) => {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const unit = point => [...element.textContent].slice(0, point).join('').length;
  const place = wanted => {
    walker.currentNode = element;
    let left = wanted;
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      if (left <= node.length) return [node, left];
      left -= node.length;
    }
  };
  const box = (from, to) => {
    const range = document.createRange();
    range.setStart(...place(from));
    range.setEnd(...place(to));
    const rects = range.getClientRects();
    const r = rects[rects.length - 1];
    return [r.left, r.right, r.top + r.height / 2];
  };
  const first = box(unit(start), unit(start + 1));
  const last = box(unit(end - 1), unit(end));
  return [first, last];
}"""


@dataclass
class Person:
    """Somebody at the page, whose clicks and keys are counted.

    Attributes:
        page: The page.
        requests: Addresses that the page asked for.
        problems: What the page's console and the server complained about.
    """

    page: Any
    n_clicks: int = 0
    n_keys: int = 0
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def click(self, selector: str) -> None:
        """Click on something."""
        self.n_clicks += 1
        self.page.click(selector)

    def press(self, *keys: str) -> None:
        """Press keys."""
        for key in keys:
            self.n_keys += 1
            self.page.keyboard.press(key)

    @property
    def text(self) -> Any:
        """The text of the current card."""
        return self.page.locator(".card.current .text")

    def marks(self) -> set[tuple[int, int, str]]:
        """Marks on the current text, in code points."""
        return {(m["start"], m["end"], m["label"]) for m in self.text.evaluate(_MARKS)}

    def drag(self, start: int, end: int, *, exactly: bool = False) -> None:
        """Select characters of the current text with the mouse."""
        self.text.evaluate("e => e.scrollIntoView({ block: 'nearest' })")
        first, last = self.text.evaluate(_BOX, [start, end])
        is_rtl = self.text.evaluate("e => getComputedStyle(e).direction") == "rtl"
        inset = -1 if is_rtl else 1
        begin, stop = (first[1], last[0]) if is_rtl else (first[0], last[1])
        self.n_clicks += 1
        if exactly:
            self.page.keyboard.down("Alt")
        self.page.mouse.move(begin + inset, first[2])
        self.page.mouse.down()
        self.page.mouse.move(stop - inset, last[2], steps=4)
        self.page.mouse.up()
        if exactly:
            self.page.keyboard.up("Alt")

    def point_at(self, start: int) -> None:
        """Click on one character of the current text."""
        (left, right, middle), _ = self.text.evaluate(_BOX, [start, start + 1])
        self.n_clicks += 1
        self.page.mouse.click((left + right) / 2, middle)

    def accept(self) -> None:
        """Accept the current text and wait until the model has followed."""
        updates = self.updates
        self.press("Enter")
        self.page.wait_for_function(
            "n => Number(document.body.dataset.updates ?? 0) > n", arg=updates, timeout=180_000
        )

    @property
    def updates(self) -> int:
        """How often the model has followed so far."""
        return int(self.page.evaluate("document.body.dataset.updates ?? 0"))

    def picture(self, name: str) -> None:
        """Keep a picture for the documentation, if pictures are asked for."""
        if os.environ.get("LABELWISE_PICTURES"):
            PICTURES.mkdir(parents=True, exist_ok=True)
            keep(self.page.screenshot(animations="disabled"), PICTURES / f"{name}.png")


def keep(picture: bytes, path: Path) -> None:
    """Write a picture with 256 colours, a third of the bytes."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(256).save(path, optimize=True)


def chromium() -> str:
    """Find Chromium, or skip."""
    pytest.importorskip("playwright", reason="Playwright is not installed: make test-browser")
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("There is no 'chromium' on this machine: apt-get install chromium")
    return found


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """Start Chromium with no way to any other machine."""
    executable = chromium()
    from playwright.sync_api import sync_playwright

    arguments = [
        "--no-sandbox",
        "--disable-background-networking",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            yield started
        finally:
            started.close()


@contextlib.contextmanager
def person_at(started: Any, studio: Running, **options: Any) -> Iterator[Person]:
    """Open the studio; at the end, check that nothing foreign was asked for and nothing failed."""
    context = started.new_context(**({"viewport": WIDE} | options))
    context.set_default_timeout(180_000)
    person = Person(context.new_page())
    watch(person)
    try:
        person.page.goto(studio.address)
        person.page.wait_for_selector("#welcome:not([hidden]), #work:not([hidden])")
        yield person
        foreign = [u for u in person.requests if not u.startswith((studio.origin, "blob:"))]
        assert foreign == []
        assert person.problems == []
    finally:
        context.close()


def watch(person: Person) -> None:
    """Note every request, and all that goes wrong."""
    page, problems = person.page, person.problems
    page.on("request", lambda r: person.requests.append(r.url))
    page.on("pageerror", lambda e: problems.append(f"error: {e}"))
    page.on("console", lambda m: m.type == "error" and problems.append(f"console: {m.text}"))
