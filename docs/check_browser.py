"""Check a built site in a real browser: ``python docs/check_browser.py build/docs``.

It needs the extra ``browser``, and Chromium on the PATH. Pages are shown in light and in dark, on a
desk and on a telephone. Scripts run without an error and load nothing from another host. Nothing is
wider than the screen. Sliders and buttons change their figures. axe finds no accessibility fault.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from napari_diffusion.models import BUILTIN

PAGES = (
    "index",
    "start/index",
    "learn/what_is_diffusion",
    "learn/how_to_choose",
    "reference/models",
    "notebooks/confocal",
    "notebooks/mri",
)
SCREENS = (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390))
#: Number of figures with a slider on a page.
FIGURES = {"learn/what_is_diffusion": 4, "learn/how_to_choose": len(BUILTIN)}
PIXELS = "canvas => canvas.toDataURL()"


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves the files of a site without a log."""

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a site on this machine, and yield its address.

    A script may not read the pixels of pictures that are opened as files.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(site)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()


def open_page(browser: Browser, address: str, scheme: str, width: int, faults: list[str]) -> Page:
    """Show a page, and collect its errors and requests to other hosts."""
    own = (address[: address.index("/", len("http://")) + 1], "data:")
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("pageerror", lambda error: faults.append(f"error of a script: {error}"))
    page.on("requestfailed", lambda request: faults.append(f"cannot be loaded: {request.url}"))
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(own) else faults.append(f"from elsewhere: {request.url}")
        ),
    )
    page.goto(address)
    page.wait_for_load_state("load")
    return page


def faults_of_figures(page: Page) -> Iterator[str]:
    """Move every slider to its end, press every button, and yield what does not change."""
    for figure in page.query_selector_all(".figure-box"):
        canvas = figure.query_selector("canvas")
        if canvas is None:
            yield "a figure without a picture"
            continue
        for slider in figure.query_selector_all("input[type=range]"):
            slider.scroll_into_view_if_needed()
            before, label = canvas.evaluate(PIXELS), canvas.get_attribute("aria-label")
            slider.focus()
            page.keyboard.press(
                "End" if slider.input_value() != slider.get_attribute("max") else "Home"
            )
            if canvas.evaluate(PIXELS) == before:
                yield f"a slider without effect: {label}"
        for button in figure.query_selector_all("button"):
            before = canvas.evaluate(PIXELS)
            button.click()
            page.wait_for_timeout(900)
            if canvas.evaluate(PIXELS) == before:
                yield f"a button without effect: {button.inner_text()}"
            button.click()


def faults_of(browser: Browser, site: str, name: str, scheme: str, width: int) -> list[str]:
    """Return the faults of a page on a screen."""
    faults: list[str] = []
    page = open_page(browser, f"{site}{name}.html", scheme, width, faults)
    count = len(page.query_selector_all(".figure-box"))
    if count != FIGURES.get(name, 0):
        faults.append(f"{count} figures in place of {FIGURES.get(name, 0)}")
    shown = page.evaluate("document.documentElement.scrollWidth")
    if shown > width:
        faults.append(f"{shown} pixels wide")
    violations = Axe().run(page).response["violations"]
    faults += [f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in violations]
    faults += faults_of_figures(page)
    page.close()
    return [f"{name}, {scheme}, {width} pixels: {fault}" for fault in faults]


def main(site: Path) -> int:
    """Print the faults of all pages on all screens, and return the exit status."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright, served(site) as address:
        # Without the sandbox, which root cannot use; the pages are our own.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        faults = [
            fault
            for name in PAGES
            for scheme, width in SCREENS
            for fault in faults_of(browser, address, name, scheme, width)
        ]
        browser.close()
    sys.stdout.write("".join(f"{fault}\n" for fault in faults))
    sys.stdout.write(f"{len(PAGES) * len(SCREENS)} views, {len(faults)} faults\n")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).resolve()))
