"""The page's files, and nothing else, over HTTP.

They are read once, when the page is registered: what happens to the installed files while the
server runs changes nothing. Knows nothing of models or requests for text.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).parent / "page"
INDEX = "index.html"
PREFIX = "/page/"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Of the files that are served; others in the folder are not."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "media-src blob:",  # the recording that is heard, from the browser's own memory
        "connect-src 'self'",  # the API and, in browsers of today, this server's WebSocket
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # no text becomes markup, whatever a model writes
        "trusted-types 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    # Asked for anew each time, answered by digest: page and server are always of one version.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page; `etag` is its digest."""

    content: bytes
    media_type: str
    etag: str

    async def answer(self, request: Request) -> Response:
        """The file, or 304 where the browser has it already; of HEAD the server leaves the body
        out."""
        headers = {**HEADERS, "ETag": self.etag}
        if is_known(request.headers.get("if-none-match", ""), self.etag):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def is_known(if_none_match: str, etag: str) -> bool:
    """Whether a browser's If-None-Match says that it has this file."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


def page_files() -> dict[str, PageFile]:
    """By the path under which each is served."""
    found = {}
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in TYPES:
            content = path.read_bytes()
            etag = f'"{sha256(content).hexdigest()}"'
            place = "/" if path.name == INDEX else PREFIX + path.name
            found[place] = PageFile(content, TYPES[path.suffix], etag)
    return found


def register(app: Starlette) -> frozenset[str]:
    """Serve the page at `/`; returns the paths that it needs, which are open to everybody."""
    files = page_files()
    for path, file in files.items():
        app.add_route(path, file.answer, methods=["GET", "HEAD"], include_in_schema=False)
    return frozenset(files)
