"""The lookup of the object that ``module:name`` names, with precise errors."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib import import_module
from inspect import Signature, iscoroutinefunction, signature
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Literal

from klein import Klein
from twisted.web.resource import IResource

from clusterapp.errors import ApplicationLoadError
from clusterapp.tracebacks import format_error, summary_of
from clusterapp.web.application import Application

ApplicationKind = Literal["application", "klein", "resource", "wsgi"]

#: The packages whose frames are between clusterapp's and the user's in a traceback.
_IMPORTERS = ("importlib", "_frozen_importlib", "_frozen_importlib_external")

_A_FILE = "{!r} is a file, and not the name of a module, as in 'shop:app'"


def find(spec: str) -> tuple[ApplicationKind, Any]:
    """
    Import and return the application that ``module:name`` names, with its kind.

    The working directory is put in front of ``sys.path``, unless ``sys.path`` has it.

    :param spec: ``module:name``; the name may be dotted. It may also name a factory: a
        function or class that is called without arguments to make the application.
    :returns: the kind, and the application.
    :raises ApplicationLoadError: any error, with a traceback of the user's code if
        that raised it.
    """
    module_name, colon, name = spec.partition(":")
    if not (module_name and colon and name):
        raise ApplicationLoadError(
            spec, "it must be written module:name, as in 'shop:app'"
        )
    _see_working_directory()
    found = _attribute(spec, _module(spec, module_name), name)
    if _plain_kind(found) is None and _takes(found, 0):
        found = _made(spec, found)
    kind = _plain_kind(found) or ("wsgi" if _takes(found, 2) else None)
    if kind is None:
        raise ApplicationLoadError(
            spec,
            f"it is {_described(found)}, which is neither an Application, a Klein,"
            " an IResource, a WSGI callable (two arguments), nor a function or class"
            " without arguments that makes one of these",
        )
    return kind, found


def _see_working_directory() -> None:
    here = str(Path.cwd())
    if "" not in sys.path and here not in sys.path:
        sys.path.insert(0, here)


def _module(spec: str, name: str) -> ModuleType:
    if os.sep in name or name.startswith("."):
        raise ApplicationLoadError(spec, _A_FILE.format(name))
    try:
        with _blaming(spec, f"importing {name!r}"):
            return import_module(name)
    except ApplicationLoadError as error:
        cause = error.__cause__
        if (
            isinstance(cause, ModuleNotFoundError)
            and f"{name}.".startswith(f"{cause.name}.")
            and _users(cause.__traceback__) is None
        ):
            raise ApplicationLoadError(spec, _not_found(name, cause)) from None
        raise


def _not_found(name: str, error: ModuleNotFoundError) -> str:
    if name.endswith(".py"):
        return _A_FILE.format(name)
    where = f"neither in {Path.cwd()} nor elsewhere on sys.path"
    return f"there is no module {error.name!r}, {where}"


def _attribute(spec: str, module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        with _blaming(spec, f"asking for {part!r}"):
            if not hasattr(found, part):
                raise ApplicationLoadError(spec, _missing(found, part))
            found = getattr(found, part)
    return found


def _missing(owner: object, name: str) -> str:
    kind = "module " + owner.__name__ if isinstance(owner, ModuleType) else "it"
    public = [each for each in dir(owner) if not each.startswith("_")]
    near = [each for each in public if each.startswith(name)]
    near = near or get_close_matches(name, public)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"{kind} has no {name!r}{hint}"


def _made(spec: str, factory: Any) -> Any:
    if iscoroutinefunction(factory):
        raise ApplicationLoadError(
            spec, "it is a coroutine function; make the application without awaiting"
        )
    with _blaming(spec, "calling it"):
        return factory()


def _plain_kind(found: object) -> ApplicationKind | None:
    """Return the kind of an instance; None for a callable, which may be WSGI."""
    if isinstance(found, Application):
        return "application"
    if isinstance(found, Klein):
        return "klein"
    return "resource" if IResource.providedBy(found) else None


def _takes(found: Any, count: int) -> bool:
    """Return whether ``found`` can be called with ``count`` positional arguments."""
    parameters = _parameters(found)
    if parameters is None:
        return False
    try:
        parameters.bind(*range(count))
    except TypeError:
        return False
    return True


def _parameters(found: Any) -> Signature | None:
    """Return the signature of ``found``; None if it is no callable or has none."""
    try:
        return signature(found)
    except (TypeError, ValueError):
        # Some callables that are written in C have no signature.
        return None


def _described(found: Any) -> str:
    if isinstance(found, type):
        return f"the class {found.__qualname__}"
    if callable(found) and hasattr(found, "__qualname__"):
        return f"the function {found.__qualname__}{_parameters(found) or ''}"
    return f"of type {type(found).__qualname__}"


@contextmanager
def _blaming(spec: str, what: str) -> Iterator[None]:
    """Convert an exception of the user's code to an error that names the step."""
    try:
        yield
    except ApplicationLoadError:
        raise
    # A module may also call sys.exit(), as a script does at its end.
    except (Exception, SystemExit) as error:
        text = format_error(error, _users(error.__traceback__))
        raise ApplicationLoadError(
            spec, f"{what} failed: {summary_of(error)}", text
        ) from error


def _users(trace: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the user's first frame on; None if it has none."""
    while trace is not None and _is_ours(trace):
        trace = trace.tb_next
    return trace


def _is_ours(trace: TracebackType) -> bool:
    name: str = trace.tb_frame.f_globals.get("__name__", "")
    return name == __name__ or name.partition(".")[0] in _IMPORTERS
