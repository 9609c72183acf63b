"""The fixture of the reliability tests: `tally`, named by the mark `counts(test, case)`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.tally import Tally, report_path, write_report


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts of this test; reported, then checked, when it has run.

    With --report, a full test that the folder already holds is skipped: a long run stopped in its
    middle goes on where it was.
    """
    mark = request.node.get_closest_marker("counts")
    assert mark is not None, "a test with a tally needs @pytest.mark.counts(test, case)"
    parameter = getattr(request.node, "callspec", None)
    parts = [str(mark.args[1]), *([parameter.id] if parameter else [])]
    test, case = mark.args[0], " ".join(parts)
    folder = request.config.getoption("--report")
    full = bool(request.config.getoption("--full"))
    if full and folder and report_path(Path(folder), test, case).exists():
        pytest.skip(f"{test} {case} is in {folder} already")
    counts = Tally(test, case, full, int(request.config.getoption("--seed")))
    print(f"{test} {case}: seed {counts.seed}")
    yield counts
    if counts.trials and folder:
        write_report(Path(folder), counts)
    counts.check()
