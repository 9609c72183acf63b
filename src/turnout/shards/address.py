"""Addresses of stores, and how they are told: never with what lets somebody in.

This file opens nothing.
"""

import re
from urllib.parse import unquote

from turnout.errors import UsageError, one_line

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=://)")
CHAINED = "::"
WEB = ("http", "https")
BUCKETS = ("s3", "s3a", "gs", "gcs")
"""Stores whose addresses begin with a bucket, and whose keys are never in them."""
ARN = "arn:"
"""Of an access point in a bucket's place."""
SHORTEST_SECRET = 3
"""Characters; what is shorter would be taken for a secret in the midst of words."""


def scheme_of(address: str) -> str | None:
    """'s3' of 's3://bucket/folder'; None of a path."""
    match = SCHEME.match(address)
    return match[0].lower() if match else None


def check_address(address: str) -> None:
    """Raise UsageError where an address would open another inside it, or has a bucket's keys."""
    if CHAINED in address and scheme_of(address.rpartition(CHAINED)[2]):
        raise UsageError(
            f"{shown_address(address)}: an address inside another is not opened: name the store "
            "that holds the shards themselves"
        )
    bucket = bucket_of(address) or ""
    if "@" in bucket or (":" in bucket and not bucket.startswith(ARN)):
        raise UsageError(
            f"{shown_address(address)}: keys do not belong into the address of a bucket: they come "
            "from the store's own settings (environment or profile)"
        )


def bucket_of(address: str) -> str | None:
    """'bucket' of 's3://bucket/folder'; None where there are none."""
    if scheme_of(address) not in BUCKETS:
        return None
    return address.partition("://")[2].partition("/")[0]


def shown_address(address: str) -> str:
    """The address without user, password, query and fragment, in one line."""
    scheme = scheme_of(address)
    if scheme is None:
        return one_line(address)
    rest = address.partition("://")[2]
    first, at = re.search(r"[?#]", rest), rest.rfind("@")
    # A key may hold any letter, so an '@' behind a '?' may end a password, or be in a signature.
    if first and at > first.start():
        return f"{scheme}://..."
    return one_line(f"{scheme}://{rest[at + 1 : first.start() if first else None]}")


def joined(folder: str, name: str) -> str:
    """The address of a name in a folder; a query, which may let one in, goes along."""
    scheme = scheme_of(folder)
    head, mark, query = folder.partition("?") if scheme in WEB else (folder, "", "")
    return f"{head.rstrip('/')}/{name}{mark}{query}"


def split_name(address: str) -> tuple[str, str]:
    """The folder of an address, and the name in it."""
    scheme = scheme_of(address)
    head, mark, query = address.partition("?") if scheme in WEB else (address, "", "")
    folder, _, name = head.rpartition("/")
    return f"{folder}{mark}{query}", name


def scrubbed(words: str, address: str) -> str:
    """A library's words in one line, without what is secret in their addresses and in this one."""
    found = re.sub(r"[A-Za-z][A-Za-z0-9+.-]*://\S*", _shown_among_words, words)
    for secret in _secrets(address):
        found = found.replace(secret, "***")
    return one_line(" ".join(found.split()))


def _shown_among_words(match: re.Match[str]) -> str:
    address = match[0].rstrip("\"'`),;.")
    host = re.split(r"[/?#]", address.partition("://")[2], maxsplit=1)[0]
    # What a space or a quotation mark cut off may have been a password's end.
    whole = "@" in host or re.fullmatch(r"[^:]*(:[0-9]*)?|\[.*\](:[0-9]*)?", host)
    known = shown_address(address) if whole else f"{scheme_of(address)}://..."
    return known + match[0][len(address) :]


def _secrets(address: str) -> list[str]:
    """What stands before an '@' and in a query, longest first: whole, and in their parts."""
    rest = address.partition("://")[2]
    hidden = [rest.rpartition("@")[0], *re.split(r"[?#]", rest)[1:]]
    cuts = (r"[&;]", r"[&=;]", r"[:@/&=;?#]")
    pieces = {piece for one in hidden for cut in cuts for piece in (one, *re.split(cut, one))}
    spelled = {form for piece in pieces for form in (piece, unquote(piece))}
    return sorted((one for one in spelled if len(one) >= SHORTEST_SECRET), key=len, reverse=True)
