"""
The private names of other projects, with what is done without them: the only place.

Each is checked once, at the first use, mostly when the module that uses it is imported:
that it exists, and has the form that it had in the version that it was written for. If
not, one warning tells what is lost, and its user does without: slower, or with less.
docs/dependencies.md lists them. A test breaks each in turn
(tests/integration/project/test_private_names.py), and another one finds private names
that are used elsewhere (tests/unit/private_names/test_private_names.py).

Names with an underscore that are documented need no check, and are used anywhere:
``sys._getframe``, ``sys._current_frames``, ``os._exit``, ``asyncio._get_running_loop``,
methods of named tuples, and hooks that a library documents for subclasses.

Libraries are imported when one of their names is asked for, not with these modules.
Start with `check`.
"""
