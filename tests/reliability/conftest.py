"""The fixture of the reliability tests: `tally`, named by the mark `counts(test, case)`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.tally import Tally, is_settled, report_path, write_report

CALLED = pytest.StashKey[pytest.TestReport]()


def counted(item: pytest.Item) -> tuple[str, str] | None:
    """The test and the case that an item counts for; None where it counts nothing."""
    mark = item.get_closest_marker("counts")
    if mark is None:
        return None
    parameter = getattr(item, "callspec", None)
    return mark.args[0], " ".join([str(mark.args[1]), *([parameter.id] if parameter else [])])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The small size is one case of each kind; what is marked `full` is of the full size alone."""
    if config.getoption("--full"):
        return
    left_out = [item for item in items if item.get_closest_marker("full")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[pytest.TestReport]:
    """Keep how the body ended, for `tally`; report what is skipped: it would not be missed."""
    report = yield
    if call.when == "call":
        item.stash[CALLED] = report
    folder, names = item.config.getoption("--report"), counted(item)
    if folder and names and report.skipped and isinstance(report.longrepr, tuple):
        path = report_path(Path(folder), *names)
        if not is_settled(path):
            counts = Tally(*names, item.config.getoption("--full"), seed_of(item.config))
            counts.skipped = report.longrepr[2].removeprefix("Skipped: ")
            write_report(Path(folder), counts)
    return report


def seed_of(config: pytest.Config) -> int:
    """Of what the tests draw."""
    return int(config.getoption("--seed"))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Tally]:
    """Counts of this test; reported, then checked, when it has run.

    With --report, a full test that the folder already holds, and that passed, is skipped: a long
    run stopped in its middle goes on where it was.
    """
    names = counted(request.node)
    assert names is not None, "a test with a tally needs @pytest.mark.counts(test, case)"
    folder = request.config.getoption("--report")
    full = bool(request.config.getoption("--full"))
    if full and folder and is_settled(report_path(Path(folder), *names)):
        pytest.skip(f"{' '.join(names)} is in {folder} already")
    counts = Tally(*names, full, seed_of(request.config))
    yield counts
    called = request.node.stash.get(CALLED, None)
    if called is None or called.skipped:
        return  # interrupted, or it had no place to run in
    if called.failed:
        counts.failures.append(f"stopped after {counts.trials} trials: {last_line(called)}")
    if folder:
        write_report(Path(folder), counts)
    if called.passed:
        counts.check()


def last_line(report: pytest.TestReport) -> str:
    """What went wrong, in short."""
    crash = getattr(report.longrepr, "reprcrash", None)
    return str(crash.message if crash else report.longreprtext).partition("\n")[0]
