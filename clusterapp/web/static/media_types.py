"""The media types of files, by their names."""

from mimetypes import MimeTypes
from typing import Final

_UNKNOWN: Final = "application/octet-stream"

#: The media types by extension, the same on every machine: ``/etc/mime.types`` is not
#: read. A compressed file has its own type, and is no content coding of another file.
_TYPES: Final = {
    **MimeTypes().types_map[True],
    ".avif": "image/avif",
    ".gz": "application/gzip",
    ".js": "text/javascript",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".zst": "application/zstd",
}

#: The compressible types besides ``text/*`` and ``*+xml``.
_COMPRESSIBLE: Final = frozenset(
    {
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/rtf",
        "application/wasm",
        "application/xml",
        "font/otf",
        "font/ttf",
        "image/bmp",
        "image/vnd.microsoft.icon",
    }
)


def content_type(name: str) -> bytes:
    """Return the value of Content-Type for a file of that name."""
    kind = _kind(name)
    return f"{kind}; charset=utf-8".encode() if kind[:5] == "text/" else kind.encode()


def is_compressible(name: str) -> bool:
    """Return whether the type of a file of that name is worth compressing."""
    kind = _kind(name)
    return kind.startswith("text/") or kind.endswith("+xml") or kind in _COMPRESSIBLE


def _kind(name: str) -> str:
    _, dot, extension = name.rpartition("/")[2].rpartition(".")
    return _TYPES.get(dot + extension.lower(), _UNKNOWN)
