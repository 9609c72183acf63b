"""Which files of a repository make a checkpoint: exactly those, and one set of weights.

The listing is somebody else's: names are compared with those that are known, never used as paths.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from turnout.errors import FetchError, shown

CONFIG, GENERATION = "config.json", "generation_config.json"
TOKENIZER = "tokenizer.json"
PARTS = ("vocab.json", "merges.txt", "added_tokens.json")
"""Of a tokenizer that has no file of its own."""
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = re.compile(r"model(\.fp16)?-(\d{5})-of-(\d{5})\.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
LARGEST_TEXT = 64 << 20
"""Bytes of a file that is no weights: tokenizers have 2 to 4 MB."""
DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub states it."""

    name: str
    size: int
    """Bytes."""
    digest: str
    """SHA-256 of what is large; git's SHA-1 of what lies in the repository itself."""

    def hasher(self) -> Any:
        """What takes the file's bytes and has its digest in the end."""
        if len(self.digest) == 64:
            return hashlib.sha256()
        return hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)


@dataclass(frozen=True)
class Listing:
    """A repository at a commit."""

    commit: str
    files: Mapping[str, RemoteFile]
    """By name."""
    licence: str | None = None
    """As its card calls it."""


def listing_of(content: Any, repository: str) -> Listing:
    """The answer of `/api/models/owner/name/revision/...?blobs=true`; raises FetchError where it is
    none."""
    try:
        commit, siblings = content["sha"], content["siblings"]
        files = {one["rfilename"]: remote_file(one) for one in siblings}
        card = content.get("cardData")
        licence = card.get("license") if isinstance(card, Mapping) else None
    except (KeyError, TypeError, AttributeError) as error:
        raise no_hub(repository) from error
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise no_hub(repository)
    named = isinstance(licence, str) and re.fullmatch(r"[\w.+-]{1,60}", licence)
    return Listing(commit, files, licence if named else None)


def no_hub(repository: str) -> FetchError:
    """What answers, is no hub."""
    return FetchError(
        f"{repository}: the answer is no list of a repository's files: is HF_ENDPOINT right, and "
        "is nothing in between?"
    )


def remote_file(stated: Mapping[str, Any]) -> RemoteFile:
    """A file of the answer; its size is -1 where none that can be is stated."""
    lfs = stated.get("lfs")
    size, digest = stated.get("size"), stated.get("blobId")
    if lfs is not None:
        size, digest = lfs["size"], lfs["sha256"]
    name = str(stated["rfilename"])
    if isinstance(size, int) and isinstance(digest, str) and DIGEST.fullmatch(digest):
        return RemoteFile(name, size, digest)
    return RemoteFile(name, -1, "")


def needed_files(listing: Listing, repository: str) -> dict[str, RemoteFile]:
    """Name to be fetched as -> file. Raises FetchError where there is no checkpoint that can be
    read, before anything is fetched."""
    names = [CONFIG, *tokenizer_files(listing, repository)]
    if GENERATION in listing.files:
        names.insert(1, GENERATION)
    if CONFIG not in listing.files:
        raise FetchError(f"{repository} has no {CONFIG}: it is no checkpoint of Transformers'")
    needed = {name: listing.files[name] for name in names} | weights(listing, repository)
    for file in needed.values():
        most = None if file.name.endswith(".safetensors") else LARGEST_TEXT
        if file.size < 0 or (most is not None and file.size > most):
            raise FetchError(
                f"{repository}: {file.name} is listed without a size and digest that can be: it "
                "was not fetched"
            )
    return needed


def tokenizer_files(listing: Listing, repository: str) -> list[str]:
    """Names of the files of the tokenizer."""
    if TOKENIZER in listing.files:
        return [TOKENIZER]
    if all(name in listing.files for name in PARTS):
        return [*PARTS]
    raise FetchError(
        f"{repository} has neither {TOKENIZER} nor {', '.join(PARTS)}: without a tokenizer its "
        "ids are no text; take a repository that is complete, such as the model that this one was "
        "made from"
    )


def weights(listing: Listing, repository: str) -> dict[str, RemoteFile]:
    """The smallest complete set: float16 where float32 is offered too. Under the names that
    Transformers looks for. Raises FetchError where there is none."""
    sets = [*single_files(listing.files), *sharded_sets(listing.files)]
    if not sets:
        pickles = [name for name in listing.files if name.endswith(PICKLES)]
        found = f": {shown(pickles[0])} is a pickle, which could run code" if pickles else ""
        raise FetchError(
            f"{repository} has no {WEIGHTS}{found}: take a revision or a repository with "
            "safetensors, or let https://huggingface.co/spaces/safetensors/convert add them"
        )
    return min(sets, key=lambda files: sum(file.size for file in files.values()))


def single_files(files: Mapping[str, RemoteFile]) -> list[dict[str, RemoteFile]]:
    """Sets of one file."""
    return [{WEIGHTS: files[n]} for n in ("model.fp16.safetensors", WEIGHTS) if n in files]


def sharded_sets(files: Mapping[str, RemoteFile]) -> list[dict[str, RemoteFile]]:
    """Sets of shards that are complete, each with its index."""
    sets: dict[tuple[str, int], dict[str, RemoteFile]] = {}
    for name, file in files.items():
        if match := SHARD.fullmatch(name):
            sets.setdefault((match[1] or "", int(match[3])), {})[name] = file
    indexes = {"": INDEX, ".fp16": "model.safetensors.index.fp16.json"}
    return [
        {INDEX: files[indexes[kind]], **shards}
        for (kind, count), shards in sets.items()
        if len(shards) == count and indexes[kind] in files
    ]
