"""Files and folders are there whole or not at all, and one process at a time holds a lock."""

import errno
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from turnout import files
from turnout.errors import StorageError

HOLDER = """
import sys
from pathlib import Path
from turnout.files import locked
with locked(Path(sys.argv[1]), wait=True):
    print("locked", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing reaches the disk."""

    def fail(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fail)


def test_a_file_and_its_folders_are_made(tmp_path: Path) -> None:
    files.write_whole(tmp_path / "deep" / "text", b"new")
    assert (tmp_path / "deep" / "text").read_bytes() == b"new"
    assert names(tmp_path / "deep") == ["text"]


def test_the_longest_name_that_a_disk_takes_can_be_written(tmp_path: Path) -> None:
    name = "a" * 251 + ".txt"
    files.write_whole(tmp_path / name, b"new")
    assert names(tmp_path) == [name]


@pytest.mark.usefixtures("full")
def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"old")
    with pytest.raises(StorageError, match=r"text: cannot be written \(No space left on device\)"):
        files.write_whole(tmp_path / "text", b"new")
    assert (tmp_path / "text").read_bytes() == b"old"
    assert names(tmp_path) == ["text"]


def test_a_writer_that_is_interrupted_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), files.whole_file(tmp_path / "text") as partial:
        partial.write_bytes(b"ne")
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "folder") as partial:
        (partial / "text").write_bytes(b"ne")
        raise KeyboardInterrupt
    assert (tmp_path / "text").read_bytes() == b"old"
    assert names(tmp_path) == ["text"]


def test_a_file_is_synced_before_it_takes_its_place_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    sync, replace = files.sync, Path.replace

    def seen_sync(path: Path) -> None:
        happened.append(f"sync {'folder' if path.is_dir() else 'file'}")
        sync(path)

    def seen_replace(path: Path, target: Path) -> Path:
        happened.append("replace")
        return replace(path, target)

    monkeypatch.setattr(files, "sync", seen_sync)
    monkeypatch.setattr(Path, "replace", seen_replace)
    files.write_whole(tmp_path / "text", b"new")
    assert happened == ["sync file", "replace", "sync folder"]


def test_a_folder_gives_way_but_for_what_stays(tmp_path: Path) -> None:
    place = tmp_path / "folder"
    place.mkdir()
    for name in ("text", "notes", "old"):
        (place / name).write_bytes(b"old")
    with files.whole_folder(place, {"text", "old"}) as partial:
        (partial / "text").write_bytes(b"new")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == {
        "text": b"new",
        "notes": b"old",
    }
    assert names(tmp_path) == ["folder"]


@pytest.mark.usefixtures("full")
def test_a_folder_that_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "folder"
    place.mkdir()
    (place / "text").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"), files.whole_folder(place) as partial:
        (partial / "text").write_bytes(b"new")
    assert (place / "text").read_bytes() == b"old"
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES])
def test_a_folder_that_cannot_be_synced_is_no_error_and_a_file_is(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text").touch()

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    for name in ("fsync", "open"):
        with monkeypatch.context() as patched:
            patched.setattr(os, name, fail)
            files.sync(tmp_path)
            with pytest.raises(OSError, match=os.strerror(number)):
                files.sync(tmp_path / "text")


def test_once_in_its_place_a_file_or_folder_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes").write_bytes(b"old")
    sync = files.sync

    def fail(path: Path) -> None:
        if path == tmp_path:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(path)

    monkeypatch.setattr(files, "sync", fail)
    files.write_whole(tmp_path / "text", b"new")
    with files.whole_folder(tmp_path / "folder", {"text"}) as partial:
        (partial / "text").write_bytes(b"new")
    assert names(tmp_path) == ["folder", "text"]
    assert names(tmp_path / "folder") == ["notes", "text"]


@pytest.fixture
def two_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot exchange two folders."""
    monkeypatch.setattr(files, "exchange", lambda *_: False)


def old_folder(place: Path) -> dict[str, bytes]:
    place.mkdir()
    before = dict.fromkeys(("text", "notes", "old", "more"), b"old")
    for name, data in before.items():
        (place / name).write_bytes(data)
    return before


@pytest.mark.usefixtures("two_steps")
@pytest.mark.parametrize("failing", [1, 2])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), KeyboardInterrupt()])
def test_a_folder_that_cannot_be_moved_leaves_what_was_there(
    failing: int, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old folder is moved, then the new one."""
    place = tmp_path / "folder"
    before = old_folder(place)
    rename, moved = Path.rename, []

    def fail(path: Path, target: Path) -> Path:
        moved.append(target)
        if len(moved) == failing:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(type(error)), files.whole_folder(place, {"text", "old"}) as partial:
        (partial / "text").write_bytes(b"new")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("linked", [True, False])
def test_what_stays_is_never_away(
    linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the new folder is there, the old one has all that it had: kill -9 loses nothing."""
    place = tmp_path / "folder"
    before = old_folder(place)
    (place / "deep").mkdir()
    (place / "deep" / "link").symlink_to("nowhere")
    exchange, seen = files.exchange, []

    def look(partial: Path, there: Path) -> bool:
        seen.append({path.name: path.read_bytes() for path in there.iterdir() if path.is_file()})
        return exchange(partial, there)

    def no_links(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(files, "exchange", look)
    if not linked:
        monkeypatch.setattr(os, "link", no_links)
    with files.whole_folder(place, {"text", "old"}) as partial:
        (partial / "text").write_bytes(b"new")
    assert seen == [before]
    assert names(place) == ["deep", "more", "notes", "text"]
    assert (place / "text").read_bytes() == b"new"
    assert (place / "notes").read_bytes() == b"old"
    assert (place / "deep" / "link").readlink() == Path("nowhere")
    assert names(tmp_path) == ["folder"]


def test_leftovers_of_the_same_folder_go_unless_somebody_writes_them(tmp_path: Path) -> None:
    for name in (".partial-0123abcd-folder", ".partial-0123abcd-other", ".partial-1-folder"):
        (tmp_path / name).mkdir()
    with files.whole_folder(tmp_path / "folder"), files.whole_folder(tmp_path / "folder"):
        writing = [name for name in names(tmp_path) if name.endswith("-folder")]
        assert len(writing) == 3  # two that are written, and a name that is not ours
    assert names(tmp_path) == [".partial-0123abcd-other", ".partial-1-folder", "folder"]


def test_what_killed_writers_left_goes_and_nothing_else(tmp_path: Path) -> None:
    for name in (".partial-1-a", ".replaced-1-a", ".partial-1-b"):
        (tmp_path / name).mkdir()
    (tmp_path / ".partial-2-a").touch()
    (tmp_path / "a").touch()
    files.remove_leftovers(tmp_path, "a")
    assert names(tmp_path) == [".partial-1-b", "a"]


def test_one_process_holds_a_lock_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"locked\n"
    with pytest.raises(BlockingIOError), files.locked(path, wait=False):
        pytest.fail("two hold it")
    other.kill()
    other.communicate()
    with files.locked(path, wait=False):
        pass


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a pipe or device: a regular file is needed"):
        files.open_regular(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a directory: a regular file is needed"):
        files.open_regular(tmp_path)


def test_several_writers_of_one_folder_do_not_hinder_each_other(tmp_path: Path) -> None:
    """Each may look for what killed ones left at any moment of another's beginning."""

    def write(number: int) -> None:
        with files.whole_folder(tmp_path / "folder") as partial:
            (partial / "text").write_bytes(bytes([number]))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["text"]
