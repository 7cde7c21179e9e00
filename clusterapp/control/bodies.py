"""Parsing of requests to the control API; invalid ones raise a 400."""

import json
from collections.abc import Mapping
from typing import Any

from twisted.web.iweb import IRequest
from werkzeug.exceptions import BadRequest

from clusterapp.operations import CORE, Dispatch, Slot
from clusterapp.settings.endpoint_syntax import decimal
from clusterapp.settings.listen import DISPATCHES
from clusterapp.settings.option_types import STICKY_KEY
from clusterapp.settings.validation import InvalidValueError

#: The most characters of an invalid value that are repeated in the error.
_LONGEST_SHOWN = 60


def slot_or_core(text: str) -> Slot:
    """Parse a slot number, or the word for the core, in a path."""
    return CORE if text == CORE else slot_number(text)


def slot_number(text: str) -> int:
    """Parse a slot number in a path."""
    number = decimal(text)
    if number is None:
        raise BadRequest(f"the slot must be a number, not {text!r}")
    return number


def worker_count(request: IRequest) -> tuple[int, bool]:
    """Parse ``{"workers": N, "force": true}``; ``force`` is false by default."""
    values = _values(request, "workers", "force")
    workers, force = values.get("workers"), values.get("force", False)
    if type(workers) is not int or workers < 1:  # True is an int, too
        raise BadRequest(f"workers must be a number from 1 up, not {_shown(workers)}")
    if not isinstance(force, bool):
        raise BadRequest(f"force must be true or false, not {_shown(force)}")
    return workers, force


def wanted_dispatch(request: IRequest) -> Dispatch:
    """Parse ``{"policy": "sticky", "sticky": "client-ip", "listener": "tcp:8080"}``."""
    values = _values(request, "policy", "sticky", "listener")
    for name, value in values.items():
        if not isinstance(value, str):
            raise BadRequest(f"{name} must be text, not {_shown(value)}")
    policy, sticky = values.get("policy"), values.get("sticky")
    if policy not in DISPATCHES:
        known = ", ".join(DISPATCHES)
        raise BadRequest(f"policy must be one of {known}, not {_shown(policy)}")
    if sticky is not None:
        try:
            STICKY_KEY.validate(sticky)
        except InvalidValueError as error:
            raise BadRequest(f"sticky {error.reason}, not {_shown(sticky)}") from None
    return Dispatch(policy, sticky, values.get("listener"))


def wants_quick(request: IRequest) -> bool:
    """Parse ``{"quick": true}``; false by default."""
    quick = _values(request, "quick").get("quick", False)
    if not isinstance(quick, bool):
        raise BadRequest(f"quick must be true or false, not {_shown(quick)}")
    return quick


def expect_nothing(request: IRequest) -> None:
    """Raise a 400 if the request has any parameters."""
    _values(request)


def _values(request: IRequest, *known: str) -> Mapping[str, Any]:
    text: bytes = request.content.read()
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise BadRequest(f"the body must be a JSON object, not {_shown(document)}")
    for name in document.keys() - set(known):
        raise BadRequest(f"nothing is known of {_shown(name)}")
    return document


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
