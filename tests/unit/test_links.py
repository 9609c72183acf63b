"""Every file that the documentation links to is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)")
ELSEWHERE = re.compile(r"[a-z]+:|#")
"""An address of the web, or a place on the same page."""


def broken(page: Path) -> Iterator[str]:
    """The page's relative links that lead nowhere."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if not ELSEWHERE.match(target) and not (page.parent / target.partition("#")[0]).exists():
            yield target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    assert list(broken(page)) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "[a](page.md#top) [b](https://example.org/x) ![c](gone.png) [d](no/where.md#x) [e](#top)\n"
        "[f](<gone too.md>) [g](gone.md 'title')\n",
        encoding="utf-8",
    )
    assert list(broken(page)) == ["gone.png", "no/where.md#x", "gone", "gone.md"]
