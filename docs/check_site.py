"""Check a built site: ``python docs/check_site.py build/docs``.

Every local link and picture exists, with its anchor. No page loads a file from another host.
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: Attributes that make a browser load a file while it shows a page.
LOADED = {
    "img": "src",
    "script": "src",
    "source": "src",
    "video": "src",
    "iframe": "src",
    "link": "href",
}
#: Links of a page's head that load nothing.
NOT_LOADED = {"canonical", "index", "search", "next", "prev", "author", "copyright"}


class Page(HTMLParser):
    """Links, loaded files and anchors of a page.

    Attributes
    ----------
    links
        Targets of links.
    loaded
        Addresses of files that a browser loads with the page.
    anchors
        Names that a link to this page may end with.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the links, files and anchors of a tag."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        name = LOADED.get(tag)
        relations = set(values.get("rel", "").split())
        if name and values.get(name) and not (tag == "link" and relations & NOT_LOADED):
            self.loaded.append(values[name])


@cache
def page_at(path: Path) -> Page:
    """Return the content of a page."""
    return Page(path.read_text(encoding="utf-8"))


def is_broken(page: Path, target: str) -> bool:
    """Whether the file or the anchor of a local target does not exist."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return False
    path = page.parent / unquote(parts.path) if parts.path else page
    if path.is_dir():
        path /= "index.html"
    if not path.is_file():
        return True
    if not parts.fragment or path.suffix != ".html":
        return False
    return unquote(parts.fragment) not in page_at(path).anchors


def pages_of(site: Path) -> list[Path]:
    """Return the pages of a site; the theme has templates beside its other files."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def faults(site: Path) -> list[str]:
    """Return one line for each broken link and for each file from another host."""
    lines = []
    for page in pages_of(site):
        name, content = page.relative_to(site), page_at(page)
        targets = dict.fromkeys([*content.links, *content.loaded])
        lines += [f"{name}: broken link {target}" for target in targets if is_broken(page, target)]
        remote = [target for target in content.loaded if urlsplit(target).netloc]
        lines += [f"{name}: file from another host {target}" for target in remote]
    return lines


def main(site: Path) -> int:
    """Print the faults of a site, and return the exit status."""
    pages, lines = len(pages_of(site)), faults(site)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.write(f"{pages} pages, {len(lines)} faults\n")
    return 1 if lines or not pages else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
