"""A page in a real browser, if there is one: what it logs, what it loads, how it looks."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Runs when all is loaded, and leaves what it found where --dump-dom shows it.
_PROBE = """<script>addEventListener("load", () => {
  const root = document.documentElement;
  root.dataset.found = JSON.stringify({
    pictures: [...document.images].map(i => i.complete ? i.naturalWidth : 0),
    headings: [...document.querySelectorAll("h1, h2, h3")].map(h => h.innerText),
    overflow: root.scrollWidth - root.clientWidth,
  });
});</script>"""
_LOGGED = re.compile(r"CONSOLE[:(].*")


def find_browser() -> str:
    """Chromium or Chrome: `$MASK2FORMER_MT_BROWSER`, or one on the PATH; else the test skips."""
    named = os.environ.get("MASK2FORMER_MT_BROWSER")
    browser = named or next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        pytest.skip("no Chromium on the PATH; set MASK2FORMER_MT_BROWSER (apt install chromium)")
    return browser


def look_at(page: pathlib.Path, folder: pathlib.Path, *, width: int = 1200) -> dict:
    """Opens a page.

    Args:
        page: an HTML file.
        folder: gets `page.png`, what the window shows.

    Returns:
        `console`, the lines that the page logged; `pictures`, their natural widths, 0 where one
        did not load; `headings`; `overflow`, pixels that the page is wider than the window.
    """
    browser = find_browser()
    probed = folder / "probed.html"
    probed.write_text(page.read_text(encoding="utf-8") + _PROBE, encoding="utf-8")
    dumped = _run(browser, folder, "--dump-dom", f"--window-size={width},900", probed.as_uri())
    (found,) = re.findall(r'data-found="([^"]*)"', dumped.stdout)
    found = json.loads(found.replace("&quot;", '"').replace("&amp;", "&"))
    plain = _run(
        browser,
        folder,
        f"--screenshot={folder / 'page.png'}",
        f"--window-size={width},3000",
        page.as_uri(),
    )
    return {**found, "console": _LOGGED.findall(plain.stderr)}


def _run(browser: str, folder: pathlib.Path, *options: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            *options,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
