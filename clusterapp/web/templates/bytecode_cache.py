"""Compiled templates that all workers of a cluster share."""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from jinja2 import BytecodeCache, Environment
from jinja2 import __version__ as jinja_version
from jinja2.bccache import Bucket
from twisted.logger import Logger

_DIGEST = sha256().digest_size

#: What an application may set of its environment, and decides what a template's
#: text means.
_SYNTAX = (
    *("block_start_string", "block_end_string"),
    *("variable_start_string", "variable_end_string"),
    *("comment_start_string", "comment_end_string"),
    *("line_statement_prefix", "line_comment_prefix"),
    *("trim_blocks", "lstrip_blocks", "newline_sequence", "keep_trailing_newline"),
)


class SharedBytecode(BytecodeCache):
    """
    A folder of compiled templates.

    A file's name says all that its content depends on: the template's name, its
    text, and the syntax. So nothing is ever out of date, and processes that compile
    the same at the same time write the same. What cannot be read or written is
    compiled: no page fails for it.

    :param folder: where the files are. Compiled templates are code, so nobody but
        this user may be able to write there.
    """

    _log = Logger()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_bucket(
        self, environment: Environment, name: str, filename: str | None, source: str
    ) -> Bucket:
        """Find the compiled form of a template, or the place for it."""
        key = _key(jinja_version, _syntax(environment, name), name, filename, source)
        bucket = Bucket(environment, key, "")
        self.load_bytecode(bucket)
        return bucket

    def load_bytecode(self, bucket: Bucket) -> None:
        """Read a compiled template, if it is there and whole."""
        with suppress(OSError):
            content = self._path(bucket).read_bytes()
            code = content[_DIGEST:]
            # To load what is damaged could end the process (module marshal).
            if sha256(code).digest() == content[:_DIGEST]:
                bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write a compiled template; others see all of it or nothing."""
        code = bucket.bytecode_to_string()
        path = self._path(bucket)
        draft = path.with_suffix(f".{os.getpid()}")
        try:
            draft.write_bytes(sha256(code).digest() + code)
            draft.replace(path)
        except OSError as error:
            self._log.warn("cannot keep a compiled template: {error}", error=error)
            with suppress(OSError):
                draft.unlink()

    def _path(self, bucket: Bucket) -> Path:
        return self._folder / bucket.key


def _syntax(environment: Environment, name: str) -> str:
    """Tell what else than its text decides what a template is compiled to."""
    escape = environment.autoescape
    facts = [getattr(environment, word) for word in _SYNTAX]
    facts.append(escape(name) if callable(escape) else escape)
    return repr((facts, sorted(environment.extensions)))


def _key(*facts: str | None) -> str:
    """Hash texts, so that no two lists of them come out alike."""
    found = sha256()
    for fact in facts:
        # Names of files may have bytes that are not UTF-8.
        found.update(repr(fact).encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()
