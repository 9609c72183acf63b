"""Where several processes share the tests, each begins with long ones."""

from tests.order import dealt, turned

FILES = [["a1", "a2"], ["B1", "B2"], ["c1"], ["D1"], ["e1", "e2", "e3"], ["F1"], ["g1", "g2"]]
"""The long ones in capitals."""


def order(processes: int) -> list[str]:
    return dealt(FILES, str.isupper, processes)


def test_one_process_has_the_long_files_first_and_each_in_its_order() -> None:
    assert order(1) == [
        "B1", "B2", "D1", "F1", "a1", "a2", "c1", "e1", "e2", "e3", "g1", "g2"
    ]  # fmt: skip


def test_each_process_begins_with_long_files_and_ends_with_short_ones() -> None:
    found = order(3)
    assert [found[:4], found[4:8], found[8:]] == [
        ["B1", "B2", "a1", "a2"],
        ["D1", "c1", "e1", "e2"],
        ["F1", "e3", "g1", "g2"],
    ]


def test_no_test_is_lost_where_the_parts_are_uneven() -> None:
    for processes in range(1, 20):
        assert sorted(order(processes)) == sorted(test for file in FILES for test in file)


def test_each_process_begins_at_another_place_and_leaves_nothing_out() -> None:
    assert [turned("abcdefg", number, 3) for number in range(3)] == [
        [*"abcdefg"], [*"cdefgab"], [*"efgabcd"]
    ]  # fmt: skip
    assert turned([], 1, 3) == []
