"""A page as a parser sees it, and as a real browser shows it, if there is one."""

from __future__ import annotations

import base64
import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Runs when all is loaded, and leaves its results where --dump-dom shows them.
_PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement;
  root.dataset.found = JSON.stringify({
    pictures: [...document.images].map(i => i.complete ? i.naturalWidth : 0),
    headings: [...document.querySelectorAll("h1, h2, h3")].map(h => h.innerText),
    overflow: root.scrollWidth - root.clientWidth,
  });
});</script>"""
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    "--enable-logging=stderr",
)
_LOGGED = re.compile(r"CONSOLE[:(].*")


class Page(html.parser.HTMLParser):
    """What a browser would fetch or run, the rows of the tables, and the headings."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets, self.tags, self.rows, self.headings = [], set(), [], []
        self._open = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href", "srcset")]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in ("h1", "h2", "h3"):
            self.headings.append("")
        self._open = tag

    def handle_endtag(self, tag):
        self._open = None

    def handle_data(self, data):
        if self._open in ("td", "th"):
            self.rows[-1][-1] += data
        elif self._open in ("h1", "h2", "h3"):
            self.headings[-1] += data

    def row(self, name: str) -> list[str]:
        """The cells behind the name, which only one row may have."""
        (row,) = [row[1:] for row in self.rows if row and row[0] == name]
        return row


def pictures(text: str, kind: str) -> list[bytes]:
    """The files that a page holds; kind is "jpeg" or "svg+xml"."""
    found = re.findall(rf"data:image/{re.escape(kind)};base64,([^\"]+)", text)
    return [base64.b64decode(data) for data in found]


def assert_fetches_nothing(text: str) -> None:
    page = Page(text)
    assert page.tags & {"script", "link", "iframe", "object"} == set()
    assert page.targets
    assert all(target.startswith("data:image/") for target in page.targets)
    assert "@import" not in text
    assert "url(" not in text


def look_at(page: pathlib.Path, folder: pathlib.Path, *, width: int = 1200) -> dict:
    """Opens a page in Chromium or Chrome: `$MASK2FORMER_MT_BROWSER`, or one on the PATH.

    Without a browser the test is skipped.

    Args:
        page: an HTML file.
        folder: gets `page.png`, a picture of the window.

    Returns:
        `console`, the lines that the page logged; `pictures`, their natural widths in pixels, 0
        for one that did not load; `headings`; `overflow`, pixels that the page is wider than the
        window.
    """
    named = os.environ.get("MASK2FORMER_MT_BROWSER")
    browser = named or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("no Chromium on the PATH; set MASK2FORMER_MT_BROWSER (apt install chromium)")
    probed = folder / "probed.html"
    probed.write_text(page.read_text(encoding="utf-8") + _PROBE, encoding="utf-8")
    dumped = _run(browser, folder, "--dump-dom", f"--window-size={width},900", probed.as_uri())
    (found,) = re.findall(r'data-found="([^"]*)"', dumped.stdout)
    found = json.loads(found.replace("&quot;", '"').replace("&amp;", "&"))
    screenshot = f"--screenshot={folder / 'page.png'}"
    plain = _run(browser, folder, screenshot, f"--window-size={width},3000", page.as_uri())
    return {**found, "console": _LOGGED.findall(plain.stderr)}


def _run(browser: str, folder: pathlib.Path, *options: str) -> subprocess.CompletedProcess:
    command = [browser, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done
