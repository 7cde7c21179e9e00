"""The command line: what is read, what is printed, and how it ends."""

import errno
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.trial.unittest import SynchronousTestCase

from clusterapp import __version__
from clusterapp.settings.command_line import SettingsOptions
from clusterapp.settings.model import OPTIONS, Settings


def files(**texts: str) -> Callable[[str], bytes]:
    """Make a reader of TOML files that exist only here, by their stems."""

    def read(name: str) -> bytes:
        if name.removesuffix(".toml") not in texts:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return texts[name.removesuffix(".toml")].encode()

    return read


class OptionsTestCase(SynchronousTestCase):
    """Parses command lines in a world that holds nothing else."""

    def parse(
        self,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        read: Callable[[str], bytes] | None = None,
    ) -> SettingsOptions:
        options = SettingsOptions(environ=environ or {}, read=read or files())
        options.parseOptions(arguments)
        return options

    def assert_refused(
        self,
        line: str,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        read: Callable[[str], bytes] | None = None,
    ) -> None:
        """A text in SystemExit is printed to stderr, and makes the status 1."""
        end = self.assertRaises(
            SystemExit, self.parse, *arguments, environ=environ, read=read
        )
        self.assertEqual(end.code, f"clusterapp: {line}")

    def printed(self, *arguments: str, **world: Mapping[str, str]) -> str:
        """Return what a command line prints that ends the program with status 0."""
        with redirect_stdout(StringIO()) as out:
            end = self.assertRaises(
                SystemExit, self.parse, *arguments, environ=world.get("environ")
            )
        self.assertEqual(end.code, 0)
        return out.getvalue()


class FlagTests(OptionsTestCase):
    """Every setting has a flag."""

    def test_nothing(self) -> None:
        options = self.parse()
        self.assertEqual(options.settings, Settings())
        self.assertEqual(set(options.origins.values()), {"default"})
        self.assertFalse(options["check-config"])

    def test_every_setting(self) -> None:
        """The example of each, given as a flag, arrives as if it were TOML."""
        for option in OPTIONS:
            example = option.example
            if isinstance(example, tuple):
                texts = example if option.type.repeatable else [",".join(example)]
            else:
                texts = [str(example)]
            arguments = [word for text in texts for word in (option.flag, text)]
            if example is True:
                arguments = [option.flag]
            if option.name in {"core_ca", "core_cert", "core_key"}:
                arguments += ["--core=https://c", "--core-cert=c", "--core-key=k"]
                arguments += arguments[:2]
            chosen = self.parse(*arguments)
            self.assertEqual(
                getattr(chosen.settings, option.name),
                option.type.validate(example),
            )
            self.assertEqual(chosen.origins[option.name], option.flag)

    def test_repeated(self) -> None:
        options = self.parse("--listen", "tcp:1", "--listen=unix:/a b")
        self.assertEqual(options.settings.listen, ("tcp:1", "unix:/a b"))

    def test_last_one_wins(self) -> None:
        options = self.parse("--workers", "1", "--workers", "2")
        self.assertEqual(options.settings.workers, 2)

    def test_two_command_lines(self) -> None:
        """What one command line repeats does not leak into another."""
        self.parse("--listen", "tcp:1")
        self.assertEqual(self.parse("--listen", "tcp:2").settings.listen, ("tcp:2",))

    def test_check_config(self) -> None:
        """The caller ends the program, after it has loaded the application."""
        options = self.parse("--check-config")
        self.assertTrue(options["check-config"])
        self.assertEqual(options.settings, Settings())


class RefusalTests(OptionsTestCase):
    """Each mistake is one line."""

    def test_unknown_flag(self) -> None:
        self.assert_refused(
            "option --wrokers not recognized; did you mean --workers?",
            "--wrokers", "4",
        )  # fmt: skip
        self.assert_refused(
            "option --graceful_timeout not recognized; "
            "did you mean --graceful-timeout?",
            "--graceful_timeout=4",
        )
        self.assert_refused("option --xyz not recognized", "--xyz")
        self.assert_refused("option -x not recognized", "-x")

    def test_missing_value(self) -> None:
        self.assert_refused("option --workers requires argument", "--workers")

    def test_needless_value(self) -> None:
        for flag in ("--check-config", "--reload"):
            self.assert_refused(f"option {flag} must not have an argument", f"{flag}=1")

    def test_arguments(self) -> None:
        self.assert_refused(
            "unexpected argument 'shop:app'; an application is named by --app",
            "--workers", "4", "shop:app",
        )  # fmt: skip

    def test_wrong_value(self) -> None:
        self.assert_refused(
            "workers = 'four' (from --workers): must be a number from 1 up, or auto",
            "--workers", "four",
        )  # fmt: skip

    def test_wrong_environment(self) -> None:
        self.assert_refused(
            "workers = 'four' (from CLUSTERAPP_WORKERS in the environment): must be a "
            "number from 1 up, or auto",
            environ={"CLUSTERAPP_WORKERS": "four"},
        )

    def test_wrong_settings_are_not_printed(self) -> None:
        self.assert_refused(
            "workers = 0 (from --workers): must be a number from 1 up, or auto",
            "--print-config", "--workers=0",
        )  # fmt: skip


class FileTests(OptionsTestCase):
    """Which TOML file is read."""

    world = staticmethod(
        files(clusterapp="workers = 1", named="workers = 2", other="workers = 3")
    )

    def assert_workers(
        self, workers: int, origin: str, *arguments: str, **environ: str
    ) -> None:
        options = self.parse(*arguments, environ=environ, read=self.world)
        self.assertEqual(options.settings.workers, workers)
        self.assertEqual(options.origins["workers"], origin)

    def test_working_directory(self) -> None:
        self.assert_workers(1, "clusterapp.toml")
        self.assert_workers(1, "clusterapp.toml", CLUSTERAPP_CONFIG="")

    def test_environment(self) -> None:
        self.assert_workers(2, "named.toml", CLUSTERAPP_CONFIG="named.toml")

    def test_flag(self) -> None:
        """The flag is stronger than the variable."""
        self.assert_workers(
            3, "other.toml", "--config", "other.toml", CLUSTERAPP_CONFIG="named.toml"
        )

    def test_a_named_file_must_exist(self) -> None:
        line = "cannot read none.toml: No such file or directory"
        self.assert_refused(line, "--config", "none.toml")
        self.assert_refused(line, environ={"CLUSTERAPP_CONFIG": "none.toml"})

    def test_wrong_value(self) -> None:
        self.assert_refused(
            "workers = 0 (from a.toml): must be a number from 1 up, or auto",
            "--config=a.toml",
            read=files(a="workers = 0"),
        )

    def test_a_file_that_cannot_be_read(self) -> None:
        """A file that is there but cannot be read is never passed over."""

        def read(_name: str) -> bytes:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        self.assert_refused("cannot read clusterapp.toml: Permission denied", read=read)

    def test_real_files(self) -> None:
        """A file is text in UTF-8, whatever the locale."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = Path(folder.name) / "a.toml"
        path.write_text('state = "/é"', encoding="utf-8")
        options = SettingsOptions({})
        options.parseOptions([f"--config={path}"])
        self.assertEqual(options.settings.state, "/é")
        path.write_bytes(b'state = "\xff"')
        end = self.assertRaises(
            SystemExit, SettingsOptions({}).parseOptions, [f"--config={path}"]
        )
        self.assertIn(f"clusterapp: {path} is not in UTF-8: ", str(end.code))


class PrintTests(OptionsTestCase):
    """What the program prints about itself."""

    def test_print_config(self) -> None:
        text = self.printed(
            "--print-config", "--listen=tcp:1", "--listen=unix:a",
            environ={"CLUSTERAPP_WORKERS": "4"},
        )  # fmt: skip
        rows = [line.split("  ") for line in text.splitlines()]
        cells = {row[0]: [cell.strip() for cell in row[1:] if cell] for row in rows}
        self.assertEqual(set(cells), {"setting", *(option.name for option in OPTIONS)})
        self.assertEqual(
            cells["workers"], ["4", "CLUSTERAPP_WORKERS in the environment"]
        )
        self.assertEqual(cells["listen"], ["tcp:1 unix:a", "--listen"])
        self.assertEqual(cells["app"], ["(the demo site)", "default"])
        self.assertEqual(cells["core_listen"], ["none", "default"])
        self.assertEqual(cells["core_timeout"], ["60 s", "default"])
        self.assertEqual(cells["reload"], ["no", "default"])
        self.assertEqual(cells["trusted_proxies"], ["127.0.0.1, ::1, unix", "default"])

    def test_columns_are_aligned(self) -> None:
        lines = self.printed("--print-config").splitlines()
        self.assertEqual({line.index("default") for line in lines[1:]},
                         {lines[0].index("source")})  # fmt: skip

    def test_version(self) -> None:
        """It is the product's own, with Twisted's behind it."""
        self.assertRegex(
            self.printed("--version"),
            rf"^clusterapp {re.escape(__version__)}, Twisted [0-9.]+\n$",
        )

    def test_help_names_every_flag(self) -> None:
        text = self.printed("--help")
        for option in OPTIONS:
            flag = f"\n  {option.usage}\n"
            self.assertEqual(text.count(flag), 1, flag)
        for flag in ["--config FILE", "--check-config", "--print-config", "--help"]:
            self.assertIn(f"\n  {flag}\n", text)

    def test_help_is_legible(self) -> None:
        """No line is wider than a terminal, no flag needs more than two lines."""
        self.patch(os, "environ", {**os.environ, "COLUMNS": "80"})
        text = self.printed("--help")
        about, _, flags = text.partition("\n\nOptions:\n")
        self.assertIn("twistd -n clusterapp --app shop:app --workers 4", about)
        for flag in flags.split("\n  --"):
            self.assertLessEqual(len(flag.strip().splitlines()), 3, flag)
        for line in text.splitlines():
            self.assertLessEqual(len(line), 80, line)

    def test_help_says_defaults(self) -> None:
        text = " ".join(self.printed("--help").split())
        for option in OPTIONS:
            self.assertIn(f"{option.description} Default: {option.default_text}.", text)


class ProcessTests(SynchronousTestCase):
    """What only a process of its own can show."""

    def run_python(self, program: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=False,
            cwd=Path(__file__).parents[3],
            env={**os.environ, "CLUSTERAPP_WORKERS": "four"},
            text=True,
            timeout=60,
        )

    def test_imports_are_light(self) -> None:
        """Neither Klein nor a reactor is imported, so that twistd can choose one."""
        done = self.run_python(
            "import sys, clusterapp.settings.command_line\n"
            "heavy = {'klein', 'treq', 'jinja2', 'httptools', 'twisted.web',\n"
            "         'twisted.internet.reactor', 'asyncio'}\n"
            "print(sorted(heavy & set(sys.modules)))\n"
        )
        self.assertEqual((done.stdout, done.stderr), ("[]\n", ""))

    def test_a_mistake_is_one_line_and_status_1(self) -> None:
        done = self.run_python(
            "from clusterapp.settings.command_line import SettingsOptions\n"
            "SettingsOptions().parseOptions([])"
        )
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, "")
        self.assertEqual(
            done.stderr,
            "clusterapp: workers = 'four' (from CLUSTERAPP_WORKERS in the "
            "environment): must be a number from 1 up, or auto\n",
        )
