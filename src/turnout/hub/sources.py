"""What a model may be called, and the repository of the Hugging Face hub that the name stands for.

A name is taken apart here and nowhere else, and nothing is sent anywhere: whatever is not one of
these names, or might be a path, is refused.
"""

import re
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import quote

from turnout.errors import MissingModel, UsageError, shown
from turnout.model_folder import shipped_models

SCHEME = "hf://"
MAIN = "main"
SIZES = (
    "tiny", "tiny.en", "base", "base.en", "small", "small.en", "medium", "medium.en",
    "large-v2", "large-v3", "large-v3-turbo",
)  # fmt: skip
PUBLISHED: dict[str, str] = {
    **{f"whisper-{size}": f"openai/whisper-{size}" for size in SIZES},
    "distil-large-v3": "distil-whisper/distil-large-v3",
}
"""Name -> repository. Their revisions are the hub's to say: none is written down here."""
PART = r"(?!.*(?:--|\.\.))[A-Za-z0-9_](?:[\w.-]{0,94}\w)?"
REPOSITORY = re.compile(rf"{PART}/{PART}", re.ASCII)
"""As the hub takes them: no '--', no '..', up to 96 letters."""
REVISION = re.compile(r"(?!.*\.\.)\w(?:[\w./-]{0,94}[\w-])?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Source:
    """A repository of the hub, at a revision."""

    repository: str
    """owner/name."""
    revision: str = MAIN
    """A branch, a tag or a commit."""

    @property
    def name(self) -> str:
        """What a user calls it."""
        if self.revision != MAIN:
            return f"{SCHEME}{self.repository}@{self.revision}"
        short = (name for name, known in PUBLISHED.items() if known == self.repository)
        return next(short, f"{SCHEME}{self.repository}")

    @property
    def commit(self) -> str | None:
        """The revision where it is a whole commit: nobody has to be asked for it."""
        return self.revision if COMMIT.fullmatch(self.revision) else None

    @property
    def key(self) -> str:
        """The repository as the name of a file."""
        return self.repository.replace("/", "--")

    @property
    def revision_key(self) -> str:
        """Repository and revision as the name of a file."""
        return f"{self.key}@{quote(self.revision, safe='')}"


def source_of(name: str) -> Source:
    """What a name stands for; raises UsageError, or MissingModel where none has the name."""
    if name.startswith(SCHEME):
        return _address(name)
    if name in PUBLISHED:
        return Source(PUBLISHED[name])
    raise missing(name)


def missing(name: object) -> MissingModel:
    """What to say of a name that nothing has."""
    return MissingModel(f"no model '{name}': {_advice(str(name))}")


def _address(name: str) -> Source:
    repository, at, revision = name.removeprefix(SCHEME).partition("@")
    revision = revision if at else MAIN
    if not REPOSITORY.fullmatch(repository) or not REVISION.fullmatch(revision):
        raise UsageError(
            f"{shown(name)} is no address of a repository: write hf://owner/name, or "
            "hf://owner/name@revision"
        )
    return Source(repository, revision)


def looks_like_path(name: str) -> bool:
    """Whether a word may have been meant as a path: it is never looked up elsewhere."""
    return "/" in name or "\\" in name or name.startswith((".", "~"))


def _advice(name: str) -> str:
    if "://" in name:
        return f"what lies in the Hugging Face hub is {SCHEME}owner/name[@revision]"
    if looks_like_path(name):
        there = REPOSITORY.fullmatch(name) is not None
        return "there is no such folder" + f" (in the Hugging Face hub: {SCHEME}{name})" * there
    names = (*shipped_models(), *PUBLISHED)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    near = f"did you mean '{close[0]}'? " if close else ""
    return (
        f"{near}Give the path of a model folder, a name ({', '.join(names)}), or "
        f"{SCHEME}owner/name[@revision]"
    )
