"""`clusterctl`: its command line, what it writes where, and its exit statuses."""

import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from clusterapp import __version__
from clusterapp.control import cli
from clusterapp.control.cli import main
from clusterapp.settings.model import Settings
from tests.unit.control.canned import Answer, Canned, CannedCase, chunked, response
from tests.unit.control.exports.exporting import config_of, status_of
from tests.unit.control.operating import CONFIG, status

STEPS = (
    '{"step": "reading the settings", "slot": null}\n',
    '{"step": "ready after 0.42 s", "slot": 0}\n',
)
GOOD = '{"verdict": {"ok": true, "text": "2 workers are new", "traceback": ""}}\n'
BAD = '{"verdict": {"ok": false, "text": "slot 0", "traceback": "Tra\\u001b\\nE"}}\n'

#: What must not be loaded to look at a cluster.
HEAVY = {"klein", "treq", "twisted.internet.reactor", "twisted.web", "asyncio"}
HEAVY |= {"jinja2", "clusterapp.control.exports"}


class Ended(NamedTuple):
    """What a command has come to."""

    status: int
    out: str
    err: str


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self) -> bool:
        return True


class CliCase(CannedCase):
    """Runs commands against a server that says what the test wants."""

    def setUp(self) -> None:
        super().setUp()
        self.environ: dict[str, str] = {}
        self.kind: type[io.StringIO] = io.StringIO

    def run_command(self, *words: str) -> Ended:
        out, err = self.kind(), self.kind()
        self.patch(os, "environ", self.environ)
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = main(words)
            except SystemExit as ended:  # argparse's way
                code = int(str(ended.code))
        return Ended(code, out.getvalue(), err.getvalue())

    def ask(self, answer: Answer, *words: str) -> tuple[Ended, bytes]:
        """Run a command; return what it has come to, and what it has asked for."""
        path = str(self.folder / f"{len(list(self.folder.iterdir()))}.sock")
        server = Canned(path, answer)
        self.addCleanup(server.close)
        ended = self.run_command("--socket", path, *words)
        server.close()
        return ended, server.requests[0]


class RequestTests(CliCase):
    """What each command asks for."""

    def test_targets(self) -> None:
        document = response("{}")
        for words, answer, request, body in (
            (["status"], document, b"GET /status ", b""),
            (["config"], document, b"GET /config ", b""),
            (["stacks"], document, b"POST /stacks ", b""),
            (["stacks", "3"], document, b"POST /slots/3/stacks ", b""),
            (["stacks", "core"], document, b"POST /slots/core/stacks ", b""),
            (["restart", "core"], chunked(GOOD), b"POST /slots/core/restart ", b""),
            (["reload"], chunked(GOOD), b"POST /reload ", b""),
            (["upgrade"], chunked(GOOD), b"POST /upgrade ", b""),
            (["scale", "5"], chunked(GOOD), b"POST /scale ", b'{"workers": 5}'),
            (
                ["scale", "900", "--force"],
                chunked(GOOD),
                b"POST /scale ",
                b'{"workers": 900, "force": true}',
            ),
            (
                ["dispatch", "round-robin"],
                chunked(GOOD),
                b"POST /dispatch ",
                b'{"policy": "round-robin"}',
            ),
            (
                ["dispatch", "sticky", "--sticky", "query:s", "--listener", "tcp:1"],
                chunked(GOOD),
                b"POST /dispatch ",
                b'{"policy": "sticky", "sticky": "query:s", "listener": "tcp:1"}',
            ),
            (["restart", "0"], chunked(GOOD), b"POST /slots/0/restart ", b""),
            (["drain", "12"], chunked(GOOD), b"POST /slots/12/drain ", b""),
            (["stop"], chunked(GOOD), b"POST /stop ", b'{"quick": false}'),
            (["stop", "--quick"], chunked(GOOD), b"POST /stop ", b'{"quick": true}'),
        ):
            ended, asked = self.ask(answer, *words)
            self.assertIn(ended.status, {0, 1}, ended)
            self.assertTrue(asked.startswith(request), asked)
            self.assertEqual(asked.partition(b"\r\n\r\n")[2], body)

    def test_options_stand_anywhere(self) -> None:
        answer = response(json.dumps(status()))
        for words in (["--json", "status"], ["status", "--json"]):
            ended, _ = self.ask(answer, *words)
            self.assertEqual(json.loads(ended.out), status())
        ended = self.run_command("status", "--socket", self.path)
        self.assertIn(self.path, ended.err)
        ended = self.run_command("status", "--state", "/no/state")
        self.assertIn("/no/state", ended.err)


class ExportTests(CliCase):
    """What is written of a cluster for other programs."""

    def test_unknown_program(self) -> None:
        ended = self.run_command("export", "apache")
        self.assertEqual((ended.status, ended.out), (2, ""))
        self.assertIn("'apache'", ended.err)

    def test_as_it_is(self) -> None:
        """The text and nothing else, or one JSON string."""
        settings = Settings(app="shop:app")
        told = (config_of(settings), status_of(settings))
        for words in ([], ["--json"]):
            path = str(self.folder / f"{len(words)}.sock")
            server = self.serve(*(response(json.dumps(d)) for d in told), path=path)
            ended = self.run_command("--socket", path, "export", "nginx", *words)
            server.close()
            self.assertEqual((ended.status, ended.err), (0, ""))
            text = json.loads(ended.out) if words else ended.out
            self.assertTrue(text.startswith("# nginx in front of shop:app"), text)

    def test_export_warnings(self) -> None:
        """They are warnings on stderr, behind an export that is whole."""
        settings = Settings(app="shop:app", access_log="a.log")
        told = (config_of(settings), status_of(settings))
        server = self.serve(*(response(json.dumps(d)) for d in told))
        ended = self.run_command("--socket", self.path, "export", "compose")
        server.close()
        self.assertEqual(ended.status, 0)
        self.assertTrue(ended.out.startswith("# shop:app in a container"), ended.out)
        self.assertIn("clusterctl: warning: access_log = a.log is left out", ended.err)

    def test_master_of_another_version(self) -> None:
        """Nothing is written that could be taken for a configuration."""
        self.serve(response("{}"), response("{}"))
        ended = self.run_command("--socket", self.path, "export", "nginx")
        self.assertEqual((ended.status, ended.out), (1, ""))
        self.assertIn("it is of another version", ended.err)


class StatusTests(CliCase):
    """What a look at the cluster says."""

    def test_ready(self) -> None:
        ended, _ = self.ask(response(json.dumps(status())), "status")
        self.assertEqual((ended.status, ended.err), (0, ""))
        self.assertIn("shop:app is ready\n", ended.out)

    def test_not_ready(self) -> None:
        """Scripts can ask by the exit status alone."""
        answer = response(json.dumps(status(ready=False, why="no worker is ready")))
        for words in (["status"], ["status", "--json"]):
            ended, _ = self.ask(answer, *words)
            self.assertEqual((ended.status, ended.err), (1, ""))
            self.assertIn("no worker is ready", ended.out)

    def test_config(self) -> None:
        answer = response(json.dumps(CONFIG))
        ended, _ = self.ask(answer, "config")
        self.assertIn("workers  4                --workers\n", ended.out)
        ended, _ = self.ask(answer, "config", "--json")
        self.assertEqual(json.loads(ended.out), CONFIG)

    def test_stacks(self) -> None:
        answer = response('{"0": "File \\"a\\""}')
        ended, _ = self.ask(answer, "stacks")
        self.assertEqual(ended, (0, 'slot 0\nFile "a"\n', ""))
        ended, _ = self.ask(answer, "stacks", "--json")
        self.assertEqual(json.loads(ended.out), {"0": 'File "a"'})


class OperationTests(CliCase):
    """What takes a while."""

    def test_success(self) -> None:
        ended, _ = self.ask(chunked(*STEPS, GOOD), "reload")
        shown = (
            "reading the settings\nslot 0: ready after 0.42 s\n"
            "done: 2 workers are new\n"
        )
        self.assertEqual(ended, (0, shown, ""))

    def test_failure(self) -> None:
        """The traceback is no part of what was asked for."""
        ended, _ = self.ask(chunked(STEPS[0], BAD), "reload")
        shown = "reading the settings\nfailed: slot 0\n"
        self.assertEqual(ended, (1, shown, "Tra\\x1b\nE\n"))

    def test_json(self) -> None:
        """Each line as it came, and nothing else."""
        for last, code in ((GOOD, 0), (BAD, 1)):
            ended, _ = self.ask(chunked(*STEPS, last), "reload", "--json")
            self.assertEqual(ended, (code, "".join(STEPS) + last, ""))

    def test_no_verdict(self) -> None:
        """What nobody knows to be done is not done."""
        ended, _ = self.ask(chunked(STEPS[0]), "reload")
        self.assertEqual(ended.status, 1)
        self.assertIn("before it gave a verdict", ended.err)


class ErrorTests(CliCase):
    """What is said when it does not work."""

    def test_refused(self) -> None:
        for code in ("409 Conflict", "404 Not Found"):
            answer = response('{"error": "a reload is under way"}', code)
            ended, _ = self.ask(answer, "reload")
            self.assertEqual(ended, (3, "", "clusterctl: a reload is under way\n"))

    def test_wrong_value(self) -> None:
        """Of what only the master can check."""
        answer = response('{"error": "sticky is unknown"}', "400 Bad Request")
        ended, _ = self.ask(answer, "dispatch", "sticky", "--sticky", "zz")
        self.assertEqual(ended, (2, "", "clusterctl: sticky is unknown\n"))

    def test_unreachable(self) -> None:
        ended = self.run_command("--socket", self.path, "status")
        self.assertEqual((ended.status, ended.out), (4, ""))
        self.assertIn(f"clusterctl: cannot reach a cluster at {self.path}", ended.err)

    def test_json(self) -> None:
        """Programs find the error where they look for the answer."""
        ended = self.run_command("--socket", self.path, "status", "--json")
        self.assertEqual(ended.status, 4)
        self.assertIn("No such file", json.loads(ended.out)["error"])
        self.assertIn("No such file", ended.err)

    def test_several(self) -> None:
        self.environ = {"CLUSTERAPP_STATE": str(self.folder)}
        paths = []
        for name in ("a", "b"):
            (self.folder / name).mkdir()
            paths.append(str(self.folder / name / "control.sock"))
            answer = response(json.dumps(status(name=name)))
            self.serve(b"", answer, b"", answer, path=paths[-1])
        ended = self.run_command("status")
        self.assertEqual((ended.status, ended.out), (4, ""))
        for path, name in zip(paths, ("a", "b"), strict=True):
            self.assertIn(f"{path}  4242  {name}     yes\n", ended.err)
        ended = self.run_command("status", "--json")
        document = json.loads(ended.out)
        self.assertEqual([each["path"] for each in document["clusters"]], paths)

    def test_wrong_command_lines(self) -> None:
        for words in (
            [],
            ["stat"],
            ["dispatch"],
            ["dispatch", "random"],
            ["dispatch", "sticky", "--sticky"],
            ["scale"],
            ["scale", "0"],
            ["scale", "x"],
            ["scale", "-1"],
            ["restart"],
            ["restart", "x"],
            ["drain", "1", "2"],
            ["stacks", "1.5"],
            ["drain", "core"],
            ["restart"],
            ["reload", "--quick"],
            ["status", "--soket", "x"],
        ):
            ended = self.run_command(*words)
            self.assertEqual((ended.status, ended.out), (2, ""), words)
            self.assertIn("usage: clusterctl", ended.err)

    def test_broken_off(self) -> None:
        """Ctrl-C ends it without a word."""

        def interrupted(*_: object) -> str:
            raise KeyboardInterrupt

        self.patch(cli, "find", interrupted)
        self.assertEqual(self.run_command("status"), (130, "", ""))


class HelpTests(CliCase):
    """What it says of itself."""

    def test_help(self) -> None:
        ended = self.run_command("--help")
        self.assertEqual((ended.status, ended.err), (0, ""))
        for word in (*cli._COMMANDS, "--socket", "--state", "--json", "exit status:"):
            self.assertIn(word, ended.out)

    def test_version(self) -> None:
        ended = self.run_command("--version")
        self.assertEqual(ended, (0, f"clusterctl {__version__}\n", ""))

    def test_help_of_each_command(self) -> None:
        for command in cli._COMMANDS:
            ended = self.run_command(command, "--help")
            self.assertIn(f"usage: clusterctl {command}", ended.out)


class ColourTests(CliCase):
    """When there are colours."""

    def setUp(self) -> None:
        super().setUp()
        self.kind = Terminal

    def has_colours(self, **environ: str) -> bool:
        self.environ = environ
        ended, _ = self.ask(chunked(GOOD), "reload")
        return "\x1b[32mdone" in ended.out

    def test_terminal(self) -> None:
        self.assertTrue(self.has_colours())
        self.assertTrue(self.has_colours(TERM="xterm", NO_COLOR=""))

    def test_wishes(self) -> None:
        self.assertFalse(self.has_colours(NO_COLOR="1"))
        self.assertFalse(self.has_colours(TERM="dumb"))

    def test_file(self) -> None:
        self.kind = io.StringIO
        self.assertFalse(self.has_colours())

    def test_json(self) -> None:
        ended, _ = self.ask(chunked(GOOD), "reload", "--json")
        self.assertEqual(ended.out, GOOD)


class StartTests(CannedCase):
    """How much it takes to start."""

    def test_light(self) -> None:
        """It loads nothing of what only the server needs."""
        code = "import sys, clusterapp.control.cli; print(*sys.modules)"
        loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
        self.assertEqual(HEAVY & set(loaded.split()), set())
        self.assertIn("clusterapp.control.control_client", loaded.split())
