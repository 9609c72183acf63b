"""A form, however it is cut into pieces, and what is none."""

import asyncio
import os
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.served import multipart
from turnout.serving import uploads
from turnout.serving.errors import Gone, Refused
from turnout.serving.uploads import (
    LONGEST_FIELD,
    MOST_FIELDS,
    PREFIX,
    WRITTEN_AT_ONCE,
    boundary_of,
    read_form,
    upload_folder,
)

TYPE = "multipart/form-data; boundary=B"
FILE = b'name="file"; filename="a.wav"'


def read(body, folder, *, pieces=None, kind=TYPE, leaves=False):
    """The form that this body is, its pieces ending at these places."""
    places = sorted({0, len(body), *(pieces or ())})
    parts = [body[a:b] for a, b in pairwise(places)] or [b""]
    messages = [
        {"type": "http.request", "body": part, "more_body": leaves or number + 1 < len(parts)}
        for number, part in enumerate(parts)
    ]
    if leaves:
        messages.append({"type": "http.disconnect"})
    left = iter(messages)

    async def receive():
        return next(left)

    return asyncio.run(read_form(receive, kind, folder))


def refused(body, folder, **more):
    with pytest.raises(Refused) as found:
        read(body, folder, **more)
    assert not list(folder.iterdir()), "a file is left"
    return found.value


@settings(max_examples=25, deadline=None)
@given(
    content=st.binary(min_size=1, max_size=300),
    fields=st.lists(st.tuples(st.sampled_from(["model", "prompt", "x"]), st.text(max_size=40)),
                    max_size=4),
    pieces=st.lists(st.integers(0, 600), max_size=8),
)  # fmt: skip
def test_a_form_is_the_same_however_it_comes(tmp_path_factory, content, fields, pieces):
    folder = tmp_path_factory.mktemp("form")
    parts = [(b'name="%s"' % name.encode(), value.encode()) for name, value in fields]
    body = multipart(*parts, (FILE, content))
    with read(body, folder, pieces=[p for p in pieces if p < len(body)]) as form:
        assert form.fields == fields
        assert form.name == "a.wav"
        assert form.path.read_bytes() == content
    assert not list(folder.iterdir()), "the file outlives its form"


def test_a_large_file_is_written_whole(tmp_path):
    content = os.urandom(3 * WRITTEN_AT_ONCE + 17)
    body = multipart((b'name="a"', b"1"), (FILE, content), (b'name="b"', b"2"))
    places = range(0, len(body), 50_001)
    with read(body, tmp_path, pieces=places) as form:
        assert form.fields == [("a", "1"), ("b", "2")]
        assert form.path.read_bytes() == content


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (multipart((b'name="model"', b"m")), "the recording is missing: send a form"),
        (multipart((b'name="file"', b"RIFF")), "the recording is text: send a form"),
        (multipart((FILE, b"")), "a.wav: the file is empty"),
        (multipart((FILE, b"x"), (FILE, b"y")), "there are several files: send one"),
        (multipart((b'name="other"; filename="a"', b"x"), (FILE, b"y")), "'other' holds a file"),
        (multipart((b"", b"x")), "a part of the form has no name"),
        (multipart((FILE, b"x"))[:-6], "the form ends early: its last boundary is missing"),
        (b"", "the form ends early"),
        (b"hello", "the body is not a form as its header says"),
        (multipart((FILE, b"x"), boundary=b"C"), "the body is not a form as its header says"),
        (multipart((b'name="p"', b"x" * (LONGEST_FIELD + 1)), (FILE, b"x")),
         "the field 'p' has more than 65,536 bytes"),
        (multipart(*[(b'name="p"', b"")] * (MOST_FIELDS + 1), (FILE, b"x")),
         "the form has more than 100 fields"),
        (multipart((b'name="' + b"n" * 5000 + b'"', b"x")), "the body is not a form"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_form_is_said(tmp_path, body, message):
    found = refused(body, tmp_path)
    assert found.message.startswith(message)
    assert found.status in (400, 413)


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        ("", 415, "there is none: send a form"),
        ("application/json", 415, "the body is application/json: send a form"),
        ("application/x-www-form-urlencoded", 415, "the body is application/x-www-form-urlencoded"),
        ("multipart/form-data", 400, "the form's header has no usable boundary"),
        ("multipart/form-data; boundary=" + "b" * 201, 400, "the form's header has no usable"),
        ("text/\x1bplain", 415, "the body is text/\\x1bplain"),
    ],
)
def test_what_is_no_form_is_said(tmp_path, kind, status, message):
    found = refused(multipart((FILE, b"x")), tmp_path, kind=kind)
    assert found.status == status
    assert found.message.startswith(message)


def test_who_leaves_in_between_leaves_nothing(tmp_path):
    with pytest.raises(Gone):
        read(multipart((FILE, b"x" * 100_000))[:50_000], tmp_path, leaves=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (b"speech.wav", "speech.wav"),
        (b"../../etc/passwd", "passwd"),
        (b"C:\\music\\a.wav", "a.wav"),
        (b"", "the file"),
        ("\u0643\u0644\u0627\u0645.wav".encode(), "\u0643\u0644\u0627\u0645.wav"),
        (b"a\x1b[31m\xe2\x80\xae.wav", "a\\x1b[31m\\u202e.wav"),
        (b"\xff.wav", "\ufffd.wav"),
        (b"n" * 300, "n" * 80),
    ],
)
def test_a_files_name_is_one_line_without_folders(tmp_path, given, shown):
    body = multipart((b'name="file"; filename="' + given + b'"', b"x"))
    with read(body, tmp_path) as form:
        assert form.name == shown
        assert form.path.parent == tmp_path


def test_a_boundary_may_be_quoted():
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"


def test_folders_of_killed_servers_are_forgotten_and_those_of_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    dead, elsewhere = tmp_path / f"{PREFIX}dead", tmp_path / "elsewhere"
    dead.mkdir()
    (dead / "upload").write_bytes(b"x")
    elsewhere.mkdir()
    (elsewhere / "lock").write_text("mine")
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    with upload_folder() as first:
        assert not dead.exists()
        assert first.stat().st_mode & 0o777 == 0o700
        with upload_folder() as second:
            assert first.exists(), "a living server's uploads were deleted"
            assert second != first
        assert not second.exists()
    assert not first.exists()
    assert (elsewhere / "lock").read_text() == "mine"


def test_a_folder_that_a_cleaner_took_away_is_made_anew(tmp_path):
    folder = tmp_path / "turnout-serve-x"
    with read(multipart((FILE, b"sound"), boundary=b"B"), folder) as form:
        assert form.path.read_bytes() == b"sound"
        assert form.path.stat().st_mode & 0o777 == 0o600
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_gone_once_it_is_looked_at_stops_no_start(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads.tempfile, "gettempdir", lambda: str(tmp_path))
    (tmp_path / f"{PREFIX}other").mkdir()

    def gone(_):
        raise FileNotFoundError

    monkeypatch.setattr(uploads, "is_ours", gone)
    with upload_folder() as folder:
        assert folder.is_dir()


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"name=\"file\"; filename*=utf-8''na%C3%AFve%20call.wav", "na\u00efve call.wav"),
        (b"name=\"file\"; FileName* = UTF-8'en'a.wav", "a.wav"),
        (b'name="file"; filename="b.wav"; filename*=utf-8\'\'a.wav', "b.wav"),
        (b"name=\"file\"; filename*=utf-8''..%2F%0Aa.wav", "\\na.wav"),
    ],
)
def test_a_file_s_name_may_be_written_as_older_clients_do(tmp_path, head, name):
    with read(multipart((head, b"sound")), tmp_path) as form:
        assert (form.name, form.path.read_bytes()) == (name, b"sound")
