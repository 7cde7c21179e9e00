"""The sources of settings: which one wins, and what each can get wrong."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import SettingsError
from clusterapp.settings.model import OPTIONS, Settings
from clusterapp.settings.resolution import ResolvedSettings, resolve

NOTHING: Mapping[str, object] = {}


def choose(
    toml: str | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] = NOTHING,
) -> ResolvedSettings:
    """Merge sources, most of which are empty."""
    return resolve(
        toml=toml, toml_name="clusterapp.toml", environ=environ or {}, flags=flags
    )


class PrecedenceTests(SynchronousTestCase):
    """Defaults < TOML < environment < flags."""

    def test_defaults(self) -> None:
        chosen = choose()
        self.assertEqual(chosen.settings, Settings())
        self.assertEqual(chosen.origins, {option.name: "default" for option in OPTIONS})

    def test_each_source_is_stronger_than_the_one_before(self) -> None:
        toml = "workers = 1\ngraceful_timeout = 1\nboot_timeout = 1"
        environ = {
            "CLUSTERAPP_WORKERS": "2",
            "CLUSTERAPP_GRACEFUL_TIMEOUT": "2.5",
        }
        chosen = choose(toml, environ, {"workers": "3"})
        self.assertEqual(chosen.settings.workers, 3)
        self.assertEqual(chosen.settings.graceful_timeout, 2.5)
        self.assertEqual(chosen.settings.boot_timeout, 1.0)
        self.assertEqual(chosen.origins["workers"], "--workers")
        self.assertEqual(
            chosen.origins["graceful_timeout"],
            "CLUSTERAPP_GRACEFUL_TIMEOUT in the environment",
        )
        self.assertEqual(chosen.origins["boot_timeout"], "clusterapp.toml")
        self.assertEqual(chosen.origins["core_timeout"], "default")

    def test_lists_are_replaced_not_added_up(self) -> None:
        chosen = choose('listen = ["tcp:1", "tcp:2"]', flags={"listen": ["tcp:3"]})
        self.assertEqual(chosen.settings.listen, ("tcp:3",))

    def test_replaced_values_are_not_judged(self) -> None:
        """A platform's variable cannot spoil what the operator says."""
        chosen = choose(
            "workers = 0", {"WEB_CONCURRENCY": "many", "PORT": "x"},
            {"workers": "2", "listen": ["tcp:0"]},
        )  # fmt: skip
        self.assertEqual(chosen.settings.workers, 2)

    def test_flags_that_were_not_given(self) -> None:
        chosen = choose("workers = 1", flags={"workers": None})
        self.assertEqual(chosen.settings.workers, 1)

    @given(
        st.fixed_dictionaries(
            {}, optional={name: st.integers(1, 99) for name in ("toml", "env", "flag")}
        )
    )
    @settings(deadline=None)
    def test_the_strongest_source_that_speaks_wins(self, said: dict[str, int]) -> None:
        chosen = choose(
            f"workers = {said['toml']}" if "toml" in said else None,
            {"CLUSTERAPP_WORKERS": str(said["env"])} if "env" in said else {},
            {"workers": str(said["flag"])} if "flag" in said else {},
        )
        strongest = said.get("flag", said.get("env", said.get("toml", "auto")))
        self.assertEqual(chosen.settings.workers, strongest)


class RefusalTestCase(SynchronousTestCase):
    """Says how a refusal reads."""

    def assert_refused(
        self,
        line: str,
        toml: str | None = None,
        environ: Mapping[str, str] | None = None,
        flags: Mapping[str, object] = NOTHING,
    ) -> None:
        error = self.assertRaises(SettingsError, choose, toml, environ, flags)
        self.assertEqual(str(error), line)


class TomlTests(RefusalTestCase):
    """What a file says."""

    def test_native_types(self) -> None:
        chosen = choose(
            """
            app = "shop:app"
            workers = 4
            listen = ["tcp:8080", "unix:/run/a b,c.sock"]
            core_timeout = 1.5
            trusted_proxies = []
            reload = true
            """
        ).settings
        self.assertEqual(chosen.app, "shop:app")
        self.assertEqual(chosen.workers, 4)
        self.assertEqual(chosen.listen, ("tcp:8080", "unix:/run/a b,c.sock"))
        self.assertEqual(chosen.core_timeout, 1.5)
        self.assertEqual(chosen.trusted_proxies, ())
        self.assertIs(chosen.reload, True)

    def test_one_text_for_a_list_of_one(self) -> None:
        self.assertEqual(choose('listen = "tcp:1"').settings.listen, ("tcp:1",))

    def test_wrong_type(self) -> None:
        """A number in quotation marks is text."""
        self.assert_refused(
            "workers = '4' (from clusterapp.toml): must be a number from 1 up, or auto",
            'workers = "4"',
        )
        self.assert_refused(
            "state = True (from clusterapp.toml): must be a path",
            "state = true",
        )

    def test_unknown_name(self) -> None:
        self.assert_refused(
            "unknown setting 'wrokers' (from clusterapp.toml); did you mean workers?",
            "wrokers = 4",
        )
        self.assert_refused(
            "unknown setting 'graceful-timeout' (from clusterapp.toml); "
            "did you mean graceful_timeout?",
            "graceful-timeout = 4",
        )
        self.assert_refused("unknown setting 'xyz' (from clusterapp.toml)", "xyz = 4")

    def test_unknown_name_that_would_break_the_line(self) -> None:
        self.assert_refused(
            r"unknown setting 'a\nb' (from clusterapp.toml)", r'"a\nb" = 1'
        )

    def test_tables(self) -> None:
        self.assert_refused(
            "the table 'clusterapp' (from clusterapp.toml) is none of ours; settings "
            "stand at the top of the file, in no table",
            "[clusterapp]\nworkers = 4",
        )

    def test_not_toml(self) -> None:
        error = self.assertRaises(SettingsError, choose, "workers = = 4")
        self.assertEqual(
            str(error),
            "clusterapp.toml is not TOML: Invalid value (at line 1, column 11)",
        )

    def test_overlong_number(self) -> None:
        error = self.assertRaises(SettingsError, choose, f"workers = {'9' * 5000}")
        self.assertTrue(str(error).startswith("clusterapp.toml is not TOML: "))


class EnvironmentTests(RefusalTestCase):
    """What the environment says."""

    def test_lists(self) -> None:
        """White space divides specs, which may have commas; commas divide proxies."""
        chosen = choose(
            environ={
                "CLUSTERAPP_LISTEN": " tcp:1  unix:a,b ",
                "CLUSTERAPP_TRUSTED_PROXIES": "10.0.0.0/8, unix,",
            }
        ).settings
        self.assertEqual(chosen.listen, ("tcp:1", "unix:a,b"))
        self.assertEqual(chosen.trusted_proxies, ("10.0.0.0/8", "unix"))

    def test_empty_is_not_set(self) -> None:
        chosen = choose(
            "workers = 3",
            {"CLUSTERAPP_WORKERS": "", "CLUSTERAPP_APP": " ", "CLUSTERAPP_X": ""},
        )
        self.assertEqual(chosen.settings, Settings(workers=3))

    def test_names_for_workers(self) -> None:
        """Our own name is the strongest, then WORKER_NUM, then WEB_CONCURRENCY."""
        environ = {"WEB_CONCURRENCY": "1"}
        for name in ["WEB_CONCURRENCY", "WORKER_NUM", "CLUSTERAPP_WORKERS"]:
            environ[name] = str(len(environ) + 5)
            chosen = choose(environ=environ)
            self.assertEqual(str(chosen.settings.workers), environ[name])
            self.assertEqual(chosen.origins["workers"], f"{name} in the environment")

    def test_empty_name_leaves_the_weaker_one(self) -> None:
        environ = {"CLUSTERAPP_WORKERS": "", "WORKER_NUM": "7"}
        self.assertEqual(choose(environ=environ).settings.workers, 7)

    def test_port(self) -> None:
        """Platforms that set PORT expect all interfaces."""
        self.assertEqual(
            choose(environ={"PORT": "5000"}).settings.listen, ("tcp:5000",)
        )
        environ = {"PORT": "5000", "CLUSTERAPP_LISTEN": "unix:a"}
        self.assertEqual(choose(environ=environ).settings.listen, ("unix:a",))

    def test_wrong_port(self) -> None:
        self.assert_refused(
            "listen = 'tcp:http' (from PORT in the environment): the port 'http' must "
            "be a number from 0 to 65535",
            environ={"PORT": "http"},
        )

    def test_forwarded_allow_ips(self) -> None:
        chosen = choose(environ={"FORWARDED_ALLOW_IPS": "*"})
        self.assertEqual(chosen.settings.trusted_proxies, ("*",))

    def test_wrong_value(self) -> None:
        self.assert_refused(
            "workers = 'four' (from CLUSTERAPP_WORKERS in the environment): "
            "must be a number from 1 up, or auto",
            environ={"CLUSTERAPP_WORKERS": "four"},
        )
        for seconds in ["soon", "nan"]:
            shown = float("nan") if seconds == "nan" else seconds
            self.assert_refused(
                f"core_timeout = {shown!r} (from CLUSTERAPP_CORE_TIMEOUT in the "
                "environment): must be a number of seconds, above 0 up to 604800",
                environ={"CLUSTERAPP_CORE_TIMEOUT": seconds},
            )

    def test_switches(self) -> None:
        """The words for yes and no, however they are written."""
        words = {True: "yes true on 1 YES True", False: "no false off 0 No FALSE"}
        for meant, texts in words.items():
            for text in texts.split():
                chosen = choose(
                    f"reload = {'false' if meant else 'true'}",
                    {"CLUSTERAPP_RELOAD": text},
                )
                self.assertIs(chosen.settings.reload, meant, text)
        self.assert_refused(
            "reload = '2' (from CLUSTERAPP_RELOAD in the environment): "
            "must be yes or no, true or false, on or off",
            environ={"CLUSTERAPP_RELOAD": "2"},
        )

    def test_unknown_name(self) -> None:
        self.assert_refused(
            "unknown setting 'CLUSTERAPP_WROKERS' (from the environment); "
            "did you mean CLUSTERAPP_WORKERS?",
            environ={"CLUSTERAPP_WROKERS": "4"},
        )
        self.assert_refused(
            "unknown setting 'CLUSTERAPP_PORT' (from the environment)",
            environ={"CLUSTERAPP_PORT": "8080"},
        )

    def test_other_names_are_not_ours(self) -> None:
        environ = {"CLUSTERAPP_CONFIG": "a.toml", "CLUSTERAPPX": "1", "HOME": "/"}
        self.assertEqual(choose(environ=environ).settings, Settings())

    def test_kubernetes(self) -> None:
        """A service named clusterapp makes variables that look like ours."""
        environ = {
            "CLUSTERAPP_SERVICE_HOST": "10.3.0.1",
            "CLUSTERAPP_SERVICE_PORT": "80",
            "CLUSTERAPP_SERVICE_PORT_HTTP": "80",
            "CLUSTERAPP_PORT": "tcp://10.3.0.1:80",
            "CLUSTERAPP_PORT_80_TCP": "tcp://10.3.0.1:80",
            "CLUSTERAPP_PORT_80_TCP_PROTO": "tcp",
            "CLUSTERAPP_PORT_80_TCP_PORT": "80",
            "CLUSTERAPP_PORT_80_TCP_ADDR": "10.3.0.1",
            "CLUSTERAPP_CORE_SERVICE_HOST": "10.3.0.2",
            "CLUSTERAPP_CORE_PORT": "tcp://10.3.0.2:80",
        }
        self.assertEqual(choose(environ=environ).settings, Settings())


class FlagTests(RefusalTestCase):
    """What the command line says."""

    def test_text_is_read(self) -> None:
        chosen = choose(
            flags={"workers": "2", "core_timeout": "5", "trusted_proxies": "unix,::1"}
        ).settings
        self.assertEqual(
            chosen,
            Settings(workers=2, core_timeout=5, trusted_proxies=("unix", "::1")),
        )

    def test_repeated(self) -> None:
        """Given one by one, specs may have white space."""
        chosen = choose(flags={"listen": ["tcp:1", "unix:/a b"]}).settings
        self.assertEqual(chosen.listen, ("tcp:1", "unix:/a b"))

    def test_wrong_value(self) -> None:
        self.assert_refused(
            "workers = 0 (from --workers): must be a number from 1 up, or auto",
            flags={"workers": "0"},
        )
        self.assert_refused(
            "app = '' (from --app): must look like module:name, as in shop:app",
            flags={"app": ""},
        )

    def test_no_proxies(self) -> None:
        chosen = choose(flags={"trusted_proxies": ""}).settings
        self.assertEqual(chosen.trusted_proxies, ())


class CombinationTests(RefusalTestCase):
    """Settings that do not go together are both named, with their sources."""

    def test_both_sources(self) -> None:
        self.assert_refused(
            "core_ca = 'ca.pem' (from clusterapp.toml) and core = 'isolated' (from "
            "--core): core_ca is only for a core at https://HOST",
            'core_ca = "ca.pem"',
            flags={"core": "isolated"},
        )

    def test_default(self) -> None:
        self.assert_refused(
            "core_ca = 'ca.pem' (from CLUSTERAPP_CORE_CA in the environment) and core "
            "= 'master' (default): core_ca is only for a core at https://HOST",
            environ={"CLUSTERAPP_CORE_CA": "ca.pem"},
        )

    def test_not_set(self) -> None:
        self.assert_refused(
            "core_cert = 'c.pem' (from --core-cert) and core_key not set: must be set "
            "together",
            flags={"core": "https://core", "core_cert": "c.pem"},
        )
