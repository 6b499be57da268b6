"""The wheels that pip would be offered, read from the index pages of pip's own configuration.

`pip install --dry-run` says the same, but where an index keeps no metadata beside its wheels, pip downloads
each of them to see what it asks for: two gigabytes for each Python.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from shlex import split
from urllib.parse import unquote, urlsplit

import requests
from packaging.utils import canonicalize_name

DEFAULT_INDEX = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
LIMIT_S = 60


@dataclass(frozen=True)
class Offer:
    """A file on an index page, and the Pythons its page says it is for ("" for all)."""

    filename: str
    requires_python: str


@cache
def settings() -> dict[str, str]:
    """Pip's configuration by option, the environment over its files: `index-url`, `find-links`, …."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    pairs = [line.split("=", 1) for line in lines if "=" in line]
    pairs.sort(key=lambda pair: (":env:" in pair[0], pair[0].startswith("install.")))
    return {name.rpartition(".")[2]: " ".join(split(value)) for name, value in pairs}


def offers(name: str, extra_indexes: tuple[str, ...] = ()) -> list[Offer]:
    """List every file of a distribution that any configured place offers."""
    found = settings()
    own = [found.get("index-url", DEFAULT_INDEX), *found.get("extra-index-url", "").split()]
    pages = [f"{index.rstrip('/')}/{canonicalize_name(name)}/" for index in (*own, *extra_indexes)]
    return [offer for page in [*pages, *found.get("find-links", "").split()] for offer in _page(page)]


@cache
def _page(address: str) -> tuple[Offer, ...]:
    """List the files on a page, or in a folder; nothing if there is no such page."""
    parts = urlsplit(address)
    if parts.scheme in ("", "file"):
        return tuple(_folder(Path(unquote(parts.path))))
    answer = _session().get(address, timeout=LIMIT_S)
    if answer.status_code in (403, 404):
        return ()
    answer.raise_for_status()
    if "json" in answer.headers.get("content-type", ""):
        files = answer.json()["files"]
        return tuple(
            Offer(one["filename"], one.get("requires-python") or "") for one in files if not one.get("yanked")
        )
    return tuple(_Links.of(answer.text))


@cache
def _session() -> requests.Session:
    session = requests.Session()
    session.headers["Accept"] = ACCEPT
    session.verify = settings().get("cert", True)
    return session


def _folder(path: Path) -> Iterator[Offer]:
    index = path / "index.html"
    if index.is_file():
        yield from _Links.of(index.read_text())
    elif path.is_dir():
        yield from (Offer(one.name, "") for one in path.iterdir() if one.is_file())


class _Links(HTMLParser):
    """The links of an index page in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.offers: list[Offer] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a link that was not withdrawn."""
        given = dict(attrs)
        if tag == "a" and "data-yanked" not in given:
            filename = unquote(urlsplit(given.get("href") or "").path.rpartition("/")[2])
            self.offers.append(Offer(filename, given.get("data-requires-python") or ""))

    @classmethod
    def of(cls, text: str) -> list[Offer]:
        """Read a page."""
        links = cls()
        links.feed(text)
        return links.offers
