"""
The text of ``docs/settings.md``, made from the table of settings.

``python -m clusterapp.settings.reference > docs/settings.md`` renews it.
"""

import json
import sys

from clusterapp.settings.model import SETTINGS
from clusterapp.settings.table import Alias, Setting

#: Settings of the example of a TOML file.
_SHOWN = {"app", "workers", "listen", "graceful_timeout"}

_HEAD = """\
# Settings

<!-- Made by `python -m clusterapp.settings.reference`; do not edit. -->

Every setting has one name, which is written three ways: as a flag
(`--graceful-timeout 10`), as a variable of the environment
(`CLUSTERAPP_GRACEFUL_TIMEOUT=10`) and as a key of `clusterapp.toml`
(`graceful_timeout = 10`).

## Sources

The strongest source that has a value for a setting wins; values are not added up:

1. flags;
2. the environment; an empty variable counts as not set;
3. a TOML file: the one that `--config` or else `CLUSTERAPP_CONFIG` names, which
   must exist, or else `clusterapp.toml` in the working directory, if it is there;
4. defaults.

In the TOML file, settings stand at the top, in no table, with TOML's own types:

```toml
{toml}
```

Lists are TOML lists, or a single text for a list of one. On the command line,
`--listen` and `--core-listen` are repeated, once for each place. In the environment
white space stands between places to listen (file names in them may have commas;
those with white space need a flag or the file), and commas between trusted proxies.

`twistd clusterapp --print-config` prints each setting, its value and its source.
`twistd clusterapp --check-config` checks the settings, the files of TLS, and that the
application can be loaded in the working folder. It takes nothing that a running cluster
has, so it can be called beside one; whether sockets, the state folder and logs can be
had is not checked, and start hooks are not run. Neither starts anything.

## Mistakes

A wrong value, or a name that no setting has, ends the program with **exit status 1**
before anything is started, and with one line on stderr that names the setting, the
value and the source:

    clusterapp: workers = 'four' (from CLUSTERAPP_WORKERS in the environment): \
must be a number from 1 up, or auto
    clusterapp: option --wrokers not recognized; did you mean --workers?

A value that a stronger source replaces is not looked at. Every variable that begins
with `CLUSTERAPP_` must be a setting, except those that Kubernetes sets for a service
of that name (`CLUSTERAPP_SERVICE_HOST`, `CLUSTERAPP_PORT_8080_TCP`, …).

## All settings
"""

_SYNTAX = """\
## Where to listen

A place to listen is written like an endpoint string of Twisted: words divided by
colons.

| listener | |
| --- | --- |
| `tcp:PORT[:interface=ADDRESS]` | A TCP port, from 0 (the kernel chooses) to 65535. \
Without `interface`, on all IPv4 interfaces. |
| `unix:PATH[:mode=660]` | A Unix socket, with octal permissions (666 if there are \
none); the path has at most 107 bytes. |
| `fd:N` | A listening socket that the master inherits as descriptor N. |
| `systemd:NAME` or `systemd:INDEX` | A socket from systemd's socket activation, by \
its `FileDescriptorName=` or by its place in the unit, from 0. |
| `tls:PORT:certificate=PATH:key=PATH[:ca=PATH][:interface=ADDRESS]` | A TCP port \
with TLS. With `ca`, clients must show a certificate that it signed; `--core-listen` \
asks for that. |
| `tls:PORT:certificates=FOLDER[:ca=PATH][:interface=ADDRESS]` | The same, with the \
certificate that the client's SNI asks for; only for `--listen`. |

Each of those of `--listen` may go on with `:dispatch=` and a policy of its own, which
then holds for it in the place of `--dispatch`; [Who serves whom](distribution.md) says
which there are. It may also go on with `:proxy=v1`, `:proxy=v2` or `:proxy=auto`:
its connections begin with a header of the PROXY protocol, of that version or of
either. [Who the client is](proxies.md) tells who may send it.

A backslash takes the next character literally (`unix:/run/a\\:b`), and brackets
around the value of a key take all of it so (`interface=[::1]`). The same place twice
is an error.

[TLS](tls.md) tells what the files of a `tls:` listener must be and how certificates
are renewed.

## Trusted proxies

An entry of `trusted_proxies` is an IP address, a network (`10.0.0.0/8`, without bits
of a host), `unix` for whoever connects over a Unix socket, or `*` for anyone. A list
that is given replaces the default, and an empty one (`trusted_proxies = []`) trusts
nobody. [Who the client is](proxies.md) tells what is believed of those who are.
"""


def reference() -> str:
    """Write the page."""
    toml = "\n".join(_toml(setting) for setting in SETTINGS if setting.name in _SHOWN)
    sections = [_section(setting) for setting in SETTINGS]
    return "\n".join([_HEAD.format(toml=toml), _overview(), *sections, _SYNTAX])


def _overview() -> str:
    """Write the table of all settings."""
    rows = [
        f"| [`{setting.name}`](#{setting.name}) | {_default(setting)} "
        f"| {setting.about.help} |\n"
        for setting in SETTINGS
    ]
    return f"| setting | default | meaning |\n| --- | --- | --- |\n{''.join(rows)}"


def _section(setting: Setting) -> str:
    """Write what there is to know of one setting."""
    variables = "; else ".join(map(_variable, setting.variables))
    return f"""\
### {setting.name}

{setting.about.help}

- default: {_default(setting)}
- flag: `{setting.synopsis}`
- environment: {variables}
- TOML: `{_toml(setting)}`
"""


def _default(setting: Setting) -> str:
    return setting.about.unset or f"`{setting.show(setting.default)}`"


def _variable(alias: Alias) -> str:
    """Write a variable, and what it means if that is not just the setting's value."""
    meaning = alias.template.format("8080")
    note = "" if meaning == "8080" else f" (`8080` there means `{meaning}`)"
    return f"`{alias.variable}`{note}"


def _toml(setting: Setting) -> str:
    # What JSON writes for these types, TOML reads.
    return f"{setting.name} = {json.dumps(setting.about.example)}"


if __name__ == "__main__":
    sys.stdout.write(reference())
