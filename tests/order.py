"""The order of the tests, where several processes share them."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Test = TypeVar("Test")


def dealt(
    files: Sequence[Sequence[Test]], is_long: Callable[[Test], bool], processes: int
) -> list[Test]:
    """The tests of all files in an order whose equal parts, one for each process, begin with the
    long files; those are told by their first test.

    pytest-xdist gives each process such a part, and one that has done its own takes from the end
    of another's. With all long files at the beginning one process would have them, and the last
    that the others take from it would be long, too.
    """
    long = [file for file in files if is_long(file[0])]
    short = [test for file in files if not is_long(file[0]) for test in file]
    count = sum(map(len, files))
    order: list[Test] = []
    for number in range(processes):
        part = [test for file in long[number::processes] for test in file]
        wanted = max((number + 1) * count // processes - len(order) - len(part), 0)
        order += [*part, *short[:wanted]]
        del short[:wanted]
    return order + short


def turned(children: Sequence[Test], number: int, processes: int) -> list[Test]:
    """The children of a folder from where the process of this number begins, and around."""
    begin = len(children) * number // processes
    return [*children[begin:], *children[:begin]]
