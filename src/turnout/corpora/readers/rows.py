"""CSV and TSV files -> rows, each cell under its column's name; a bad line loses none but itself.

In TSV a quote mark is a letter, and a row a line. In CSV quote marks hold a cell together, over
several lines as well (RFC 4180); where one opens a cell that is not closed, or that swallows what
is plainly a row of its own, its line is an error and reading goes on at the next. Cells of CSV are
parted by commas, or by semicolons where the header is (Excel in much of Europe).
"""

import csv
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from turnout.corpora.manifest import Fields, Place, each, text_lines
from turnout.corpora.spelling import trimmed
from turnout.errors import ManifestError, shown

Line = tuple[Place, str]
Row = tuple[Place, list[str]]
"""The cells, with the place of the first of their lines."""
SEPARATORS = ",;|\t"
"""What parts the cells of tables; a column's name holds none of them."""
PATH_COLUMNS = ("path", "file_name")
MOST_LINES = 100
"""Of one quoted cell; a longer one was not closed."""


def has_tabs(source: Path) -> bool:
    """Whether a table is TSV, by its name."""
    return source.name.lower().removesuffix(".gz").endswith(".tsv")


def table_rows(source: Path) -> Iterator[Fields | ManifestError]:
    """The rows below the header; nothing more where that is wrong, since all of them would be."""
    tabs = has_tabs(source)
    header: list[str] | None = None
    for row in _rows(source):
        if isinstance(row, ManifestError):
            yield row
            if header is None:
                return
        elif header is None:
            place, cells = row
            header = [trimmed(cell) for cell in cells]
            if error := _wrong_header(place, header):
                yield error
                return
        else:
            yield _fields(*row, header, tabs)


def columns_of(source: Path) -> list[str]:
    """What the header names; nothing where it cannot be read."""
    header = next(_rows(source), None)
    return [trimmed(cell) for cell in header[1]] if isinstance(header, tuple) else []


def _rows(source: Path) -> Iterator[Row | ManifestError]:
    lines = text_lines(source)
    return each(lines, _tab_row) if has_tabs(source) else _comma_rows(lines)


def _tab_row(line: Line) -> Row:
    place, text = line
    return place, text.split("\t")


def _comma_rows(lines: Iterable[Line | ManifestError]) -> Iterator[Row | ManifestError]:
    source = iter(lines)
    ahead: deque[Line | ManifestError] = deque()
    header: list[str] | None = None
    comma = ","
    while (line := ahead.popleft() if ahead else next(source, None)) is not None:
        if isinstance(line, ManifestError):
            yield line
            continue
        if header is None:
            comma = _comma(line[1])
        ahead.appendleft(line)
        taken: list[Line] = []
        try:
            cells = next(csv.reader(_taking(taken, ahead, source), delimiter=comma, strict=True))
            swallowed = _swallowed(taken, cells, header or cells, comma)
        except csv.Error as error:
            cells, swallowed = [], _said(error, taken)
        if swallowed:
            yield taken[0][0].error(None, swallowed)
            ahead.extendleft(reversed(taken[1:]))
            continue
        header = header or [trimmed(cell) for cell in cells]
        yield taken[0][0], cells


def _comma(header: str) -> str:
    """What parts the cells: that which leaves the name of a file's column alone in its cell."""
    cells = (trimmed(cell).strip('"') for cell in header.split(";"))
    return ";" if ";" in header and any(cell in PATH_COLUMNS for cell in cells) else ","


def _taking(
    taken: list[Line], ahead: deque[Line | ManifestError], source: Iterator[Line | ManifestError]
) -> Iterator[str]:
    """The next lines, each put into `taken`, for as long as one cell may go on."""
    while len(taken) < MOST_LINES:
        line = ahead.popleft() if ahead else next(source, None)
        if line is None:
            return
        if isinstance(line, ManifestError):
            ahead.appendleft(line)
            return
        taken.append(line)
        yield line[1].replace("\r", " ") + "\n"  # csv takes it for a line's end


def _said(error: csv.Error, taken: Sequence[Line]) -> str:
    wanted = 'write a quote mark inside of a quoted cell twice, as in "a ""word"" of it"'
    if "unexpected end of data" in str(error):
        return f"is not CSV (a quote mark opens a cell that is never closed): {wanted}"
    if "field larger" in str(error):
        return f"has a cell of more than {csv.field_size_limit():,} letters"
    return f"is not CSV ({error}, in line {taken[-1][0].line}): {wanted}"


def _swallowed(taken: Sequence[Line], cells: list[str], header: list[str], comma: str) -> str:
    """What is wrong with a row of several lines of which another one is a row: its own number of
    cells, and the file name's ending in its place. '' where nothing is."""
    if len(taken) == 1:
        return ""
    last = taken[-1][0].line
    if len(cells) != len(header):
        return (
            f"has {len(cells)} cells and the header {len(header)}, with a quote mark opened here "
            f"and closed in line {last}: close it where its cell ends"
        )
    column = next((header.index(name) for name in PATH_COLUMNS if name in header), None)
    if column is None:
        return ""
    ending = _ending(cells[column])

    def row(text: str) -> bool:
        parts = next(csv.reader([text], delimiter=comma), [])
        return len(parts) == len(header) and _ending(parts[column]) == ending

    # A text before the path may go over lines, the last of which then has the path alone.
    first = taken[0][1].split(comma)
    whole = len(first) >= len(header) and any(_ending(part) == ending for part in first)
    other = next((place.line for place, text in taken[1:] if row(text)), None)
    if not whole or other is None:
        return ""
    return (
        f"opens a cell with a quote mark that is closed in line {last}, and line {other} is a row "
        "of its own: close it where its cell ends"
    )


def _ending(path: str) -> str:
    return PurePath(path.strip().strip('"')).suffix.lower()


def _wrong_header(place: Place, header: list[str]) -> ManifestError | None:
    if len(set(header)) < len(header):
        return place.error(None, "names a column twice")
    if len(header) == 1 and set(header[0]) & set(SEPARATORS):
        return place.error(
            None,
            f"has one cell, {shown(header[0])}: cells are parted by commas or semicolons (by tabs "
            "in a .tsv)",
        )
    return None


def _fields(
    place: Place, cells: list[str], header: list[str], tabs: bool
) -> Fields | ManifestError:
    if len(cells) != len(header):
        advice = "an empty cell is to be parted from its neighbours as well"
        if len(cells) > len(header):
            advice = "in TSV, no cell may hold a tab" if tabs else "quote a cell that holds a comma"
        count = f"{len(cells)} cell{'s' * (len(cells) != 1)}"
        return place.error(None, f"has {count} and the header {len(header)}: {advice}")
    return Fields(dict(zip(header, cells, strict=True)), place)
