"""
Breaks private names in every process that has this folder in PYTHONPATH.

``BROKEN_NAMES`` is JSON: a list of a package, a regular expression, and what replaces
it in the source of each of the package's modules. So a name is another one, or has
another form, for the package itself as well, as after a new release of it.
"""

import json
import os
import re
from importlib.machinery import SourceFileLoader
from importlib.util import decode_source
from types import CodeType

EDITS = json.loads(os.environ.get("BROKEN_NAMES", "[]"))
_get_code = SourceFileLoader.get_code


def get_code(loader: SourceFileLoader, fullname: str) -> CodeType | None:
    """Compile a module from its edited source."""
    edits = [
        (pattern, replacement)
        for package, pattern, replacement in EDITS
        if f"{fullname}.".startswith(f"{package}.")
    ]
    if not edits:
        return _get_code(loader, fullname)
    path = loader.get_filename(fullname)
    source = text = decode_source(loader.get_data(path))
    for pattern, replacement in edits:
        text = re.sub(pattern, replacement, text)
    if text == source:
        return _get_code(loader, fullname)  # which has it compiled already
    return compile(text, path, "exec", dont_inherit=True)


SourceFileLoader.get_code = get_code  # type: ignore[assignment,method-assign]

if "BROKEN_EXITS" in os.environ:
    import atexit

    del atexit._run_exitfuncs
