"""Lines of text files, plain or gzipped: each with its place, and damage as an error."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from turnout.corpora.entry import Place, Record
from turnout.errors import ManifestError

LONGEST_LINE = 2**24
"""Bytes; a longer line is no manifest's, and a small gzip could unpack to one without end."""


def text_lines(source: Path) -> Iterator[tuple[Place, str] | ManifestError]:
    """The lines of a UTF-8 file that are not blank, without their ends."""
    number = 0
    try:
        with gzip.open(source, "rb") if source.suffix == ".gz" else source.open("rb") as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                if line.strip():
                    yield _decoded(line, Place(str(source), number))
                if len(line) == LONGEST_LINE:
                    break
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        yield Place(str(source), number + 1).error(None, f"cannot be read ({reason})")


def json_lines(source: Path) -> Iterator[Record | ManifestError]:
    """The objects of a JSON lines file."""
    for line in text_lines(source):
        yield line if isinstance(line, ManifestError) else _parsed(*line)


def _decoded(line: bytes, place: Place) -> tuple[Place, str] | ManifestError:
    if len(line) == LONGEST_LINE:
        return place.error(None, f"is longer than {LONGEST_LINE >> 20} MiB: no line of a manifest")
    try:
        return place, line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        return place.error(None, f"is not UTF-8 (byte {error.start + 1} of the line)")


def _parsed(place: Place, line: str) -> Record | ManifestError:
    try:
        fields: Any = json.loads(line)
        # lone surrogates such as "\ud800" are JSON, but no text that could be written again
        json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return place.error(None, "holds half of a surrogate pair, which is no character")
    except ValueError as error:
        found = (
            f"{error.msg} at column {error.colno}"
            if isinstance(error, json.JSONDecodeError)
            else str(error)
        )
        return place.error(None, f"is not JSON ({found}): one object a line was expected")
    except RecursionError:
        return place.error(None, "is nested too deeply: a flat JSON object was expected")
    if not isinstance(fields, dict):
        return place.error(None, f"holds a {type(fields).__name__}: a JSON object was expected")
    return Record(fields, place)
