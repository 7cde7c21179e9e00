"""The cache of compiled templates, shared by all workers of a cluster."""

import os
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from jinja2 import BytecodeCache, Environment
from jinja2 import __version__ as jinja_version
from jinja2.bccache import Bucket
from twisted.logger import Logger

_DIGEST = sha256().digest_size

#: The attributes of an environment that an application can set, and that determine how
#: the text of a template is compiled.
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

    A file's name is a hash of all that its content depends on: the template's name, its
    text, and the syntax. So no file is ever outdated, and processes that compile the
    same template at the same time write the same content. If a file cannot be read or
    written, the template is compiled in this process: no page fails.

    :param folder: the folder of the files. Compiled templates are code, so no other
        user may be able to write there.
    """

    _log = Logger()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get_bucket(
        self, environment: Environment, name: str, filename: str | None, source: str
    ) -> Bucket:
        """Return the bucket of a template, with its compiled form if a file has it."""
        key = _key(jinja_version, _syntax(environment, name), name, filename, source)
        bucket = Bucket(environment, key, "")
        self.load_bytecode(bucket)
        return bucket

    def load_bytecode(self, bucket: Bucket) -> None:
        """Read a compiled template, if its file exists and its digest is right."""
        with suppress(OSError):
            content = self._path(bucket).read_bytes()
            code = content[_DIGEST:]
            # Loading damaged data could crash the process (module marshal).
            if sha256(code).digest() == content[:_DIGEST]:
                bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Write a compiled template atomically: other processes see all or nothing."""
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
    """Return all but its text that determines the compiled form of a template."""
    escape = environment.autoescape
    facts = [getattr(environment, word) for word in _SYNTAX]
    facts.append(escape(name) if callable(escape) else escape)
    return repr((facts, sorted(environment.extensions)))


def _key(*facts: str | None) -> str:
    """Return a hash of texts, different for each list of them."""
    found = sha256()
    for fact in facts:
        # File names may have bytes that are not UTF-8.
        found.update(repr(fact).encode("utf-8", "surrogateescape") + b"\0")
    return found.hexdigest()
