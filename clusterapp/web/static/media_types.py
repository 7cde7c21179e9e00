"""The media types of files, by their names alone."""

from mimetypes import MimeTypes
from typing import Final

_UNKNOWN: Final = "application/octet-stream"

#: By extension, the same on every machine, whatever its ``/etc/mime.types`` says. A
#: compressed file is sent as what it is, and not as the encoding of another.
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

#: Types that compress although their names do not say text.
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
    """Give the value of Content-Type for a file of that name."""
    kind = _kind(name)
    return f"{kind}; charset=utf-8".encode() if kind[:5] == "text/" else kind.encode()


def is_compressible(name: str) -> bool:
    """Whether a file of that name is of a type that is not compressed by itself."""
    kind = _kind(name)
    return kind.startswith("text/") or kind.endswith("+xml") or kind in _COMPRESSIBLE


def _kind(name: str) -> str:
    _, dot, extension = name.rpartition("/")[2].rpartition(".")
    return _TYPES.get(dot + extension.lower(), _UNKNOWN)
