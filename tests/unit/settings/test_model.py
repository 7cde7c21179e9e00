"""The settings model: what it accepts, what it refuses, and its journey as JSON."""

import json
from dataclasses import FrozenInstanceError
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import SettingsError
from clusterapp.settings.listen import DISPATCHES, TcpListen, TlsListen, UnixListen
from clusterapp.settings.model import OPTIONS, Settings

CORE_SPEC = "tls:8443:certificate=c.pem:key=k.pem:ca=a.pem"
REMOTE = "https://core.example:8443"
SECONDS = st.floats(0.001, 7 * 24 * 3600) | st.integers(1, 3600)
PATHS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
).filter(str.strip)

MAPPINGS = st.fixed_dictionaries(
    {},
    optional={
        "app": st.sampled_from(["shop:app", "shop.web:site.app"]),
        "core_app": st.none() | st.just("shop:core"),
        "workers": st.just("auto") | st.integers(1, 1000),
        "listen": st.lists(
            st.integers(1, 65535).map("tcp:{}".format), min_size=1, unique=True
        ),
        "core": st.sampled_from(["master", "isolated"]),
        "core_listen": st.sampled_from([(), [CORE_SPEC]]),
        "core_timeout": SECONDS,
        "boot_timeout": SECONDS,
        "graceful_timeout": SECONDS | st.just(0),
        "header_timeout": SECONDS,
        "keepalive_timeout": SECONDS,
        "max_body": st.integers(1, 1024**4),
        "websocket_max_size": st.integers(1, 1024**4),
        "max_form_fields": st.integers(1, 10**12),
        "max_form_size": st.integers(1, 10**12),
        "static_cache": st.integers(0, 1024**4),
        "static_max_age": SECONDS,
        "sendfile_header": st.sampled_from([None, "X-Sendfile"]),
        "trusted_proxies": st.lists(
            st.sampled_from(["unix", "*"])
            | st.ip_addresses().map(str)
            | st.ip_addresses(v=4).map("{}/32".format)
        ),
        "access_log": st.none() | st.just("-") | PATHS,
        "access_log_format": st.sampled_from(["combined", "json"]),
        "state": st.none() | PATHS,
        "reload": st.booleans(),
        "dispatch": st.sampled_from(DISPATCHES),
        "sticky": st.sampled_from(["client-ip", "cookie", "cookie:s", "header:X-S"]),
        "worker_ports": st.none() | st.integers(1, 65535),
    },
)


class DefaultTests(SynchronousTestCase):
    """What holds where the operator says nothing."""

    def test_defaults(self) -> None:
        self.assertEqual(
            Settings().as_mapping(),
            {
                "app": None,
                "core_app": None,
                "workers": "auto",
                "listen": ("tcp:8080:interface=127.0.0.1",),
                "core": "master",
                "core_listen": (),
                "core_ca": None,
                "core_cert": None,
                "core_key": None,
                "core_timeout": 60.0,
                "boot_timeout": 60.0,
                "graceful_timeout": 30.0,
                "hang_timeout": 30.0,
                "request_timeout": None,
                "drain_spread": 5.0,
                "drain_delay": 0.0,
                "max_requests": None,
                "max_lifetime": None,
                "max_rss": None,
                "reload_batch": 1,
                "health_path": None,
                "min_ready": 1,
                "require_core": False,
                "working_folder": None,
                "control": None,
                "header_timeout": 30.0,
                "keepalive_timeout": 65.0,
                "max_body": 16 * 1024**2,
                "websocket_max_size": 16 * 1024**2,
                "max_form_fields": 1000,
                "max_form_size": 2 * 1024**2,
                "static_cache": 32 * 1024**2,
                "static_max_age": 0.0,
                "sendfile_header": None,
                "trusted_proxies": ("127.0.0.1", "::1", "unix"),
                "access_log": None,
                "access_log_format": "combined",
                "state": None,
                "reload": False,
                "dispatch": "shared",
                "sticky": "cookie",
                "worker_ports": None,
                "agent_check": None,
            },
        )

    def test_default_listener(self) -> None:
        """A server that nobody has configured is not on the network."""
        self.assertEqual(Settings().listeners, (TcpListen(8080, "127.0.0.1"),))
        self.assertEqual(Settings().core_listeners, ())

    def test_frozen(self) -> None:
        with self.assertRaises(FrozenInstanceError):
            Settings().workers = 2  # type: ignore[misc]

    def test_every_setting_is_described(self) -> None:
        """The table has words for each, and an example that is right."""
        for option in OPTIONS:
            self.assertTrue(option.description.endswith("."), option.name)
            wants_none = isinstance(option.default, bool)
            self.assertIs(option.type.metavar == "", wants_none, option.name)
            option.type.validate(option.example)


class AcceptanceTests(SynchronousTestCase):
    """Values that are right, and the form that they take."""

    def test_lists_become_tuples(self) -> None:
        """Embedding programs and JSON have lists."""
        chosen = Settings(listen=["tcp:0", "unix:a"])
        self.assertEqual(chosen.listen, ("tcp:0", "unix:a"))
        self.assertEqual(chosen.listeners, (TcpListen(0), UnixListen("a")))

    def test_one_text_is_a_list_of_one(self) -> None:
        chosen = Settings(listen="tcp:80")
        self.assertEqual(chosen.listen, ("tcp:80",))

    def test_whole_seconds_become_floats(self) -> None:
        timeout = Settings(core_timeout=5).core_timeout
        self.assertIs(type(timeout), float)

    def test_no_grace(self) -> None:
        """Workers may be given no time at all to finish."""
        self.assertEqual(Settings(graceful_timeout=0).graceful_timeout, 0.0)

    def test_port_0_as_often_as_wanted(self) -> None:
        self.assertEqual(len(Settings(listen=("tcp:0", "tcp:0")).listeners), 2)

    def test_cores(self) -> None:
        for core in [
            "master",
            "isolated",
            "https://core.example",
            "https://core.example:8443",
            "https://10.0.0.1:1",
            "https://[::1]:65535",
        ]:
            self.assertEqual(Settings(core=core).core, core)

    def test_core_on_another_machine(self) -> None:
        chosen = Settings(core=REMOTE, core_ca="a", core_cert="c", core_key="k")
        self.assertEqual(chosen.core_cert, "c")
        self.assertIsNone(Settings(core=REMOTE).core_ca)

    def test_core_listener(self) -> None:
        for core in ["master", "isolated"]:
            self.assertEqual(
                Settings(core=core, core_listen=(CORE_SPEC,)).core_listeners,
                (TlsListen(port=8443, certificate="c.pem", key="k.pem", ca="a.pem"),),
            )

    def test_proxies(self) -> None:
        proxies = ("10.0.0.1", "10.0.0.0/8", "::1", "fd00::/8", "unix", "*")
        self.assertEqual(Settings(trusted_proxies=proxies).trusted_proxies, proxies)
        self.assertEqual(Settings(trusted_proxies=()).trusted_proxies, ())


class RefusalTests(SynchronousTestCase):
    """Values that are wrong, each refused in a line with its name."""

    def assert_refused(self, line: str, **values: Any) -> None:
        error = self.assertRaises(SettingsError, Settings, **values)
        self.assertEqual(str(error), line)

    def test_workers(self) -> None:
        for workers in [0, -1, True, 1.0, "4", "Auto", None, [4]]:
            self.assert_refused(
                f"workers {'not set' if workers is None else f'= {workers!r}'}: "
                "must be a number from 1 up, or auto",
                workers=workers,
            )

    def test_seconds(self) -> None:
        """Zero, text, booleans and what is no time at all are refused."""
        for seconds in [
            0, -1, True, "30", float("nan"), float("inf"), 604801, 10**400, [1],
        ]:  # fmt: skip
            self.assert_refused(
                f"core_timeout = {seconds!r}: must be a number of seconds, "
                "above 0 up to 604800",
                core_timeout=seconds,
            )

    def test_grace(self) -> None:
        for seconds in [-0.5, False]:
            self.assert_refused(
                f"graceful_timeout = {seconds!r}: must be a number of seconds, "
                "from 0 up to 604800",
                graceful_timeout=seconds,
            )

    def test_object_names(self) -> None:
        for name in [
            "shop", "shop:", ":app", "shop:app:x", "shop/web:app", "shop:app()",
            "shop..web:app", "", 5, "a: b",
        ]:  # fmt: skip
            for setting in ["app", "core_app"]:
                self.assert_refused(
                    f"{setting} = {name!r}: must look like module:name, as in shop:app",
                    **{setting: name},
                )

    def test_paths(self) -> None:
        for path in ["", " ", "a\0b", 5]:
            for setting in ["state", "access_log"]:
                self.assert_refused(
                    f"{setting} = {path!r}: must be a path", **{setting: path}
                )

    def test_formats_of_the_access_log(self) -> None:
        for given_format in ["Combined", "", "common", None, 5, ["json"]]:
            shown = "not set" if given_format is None else f"= {given_format!r}"
            self.assert_refused(
                f"access_log_format {shown}: must be combined or json",
                access_log_format=given_format,
            )

    def test_switches(self) -> None:
        """Numbers and words are none, once they have been read."""
        for value in [1, 0, "yes", "", [True]]:
            self.assert_refused(
                f"reload = {value!r}: must be yes or no, true or false, on or off",
                reload=value,
            )

    def test_listen_names_the_spec_that_is_wrong(self) -> None:
        self.assert_refused(
            "listen = 'tcp:http': the port 'http' must be a number from 0 to 65535",
            listen=("tcp:80", "tcp:http"),
        )

    def test_listen_types(self) -> None:
        self.assert_refused(
            "listen = 8080: must be text, or a list of texts", listen=8080
        )
        self.assert_refused(
            "listen = 8080: must be a listen spec, as in tcp:8080", listen=[8080]
        )

    def test_listen_is_somewhere(self) -> None:
        self.assert_refused("listen = []: must name a place to listen", listen=())

    def test_listen_twice_in_the_same_place(self) -> None:
        """However it is written, and with whatever options."""
        self.assert_refused(
            "listen = 'tcp:80:interface=0.0.0.0': is there twice",
            listen=("tcp:80", "tcp:80:interface=0.0.0.0"),
        )
        self.assert_refused(
            "listen = 'unix:a:mode=600': is there twice",
            listen=("unix:a", "unix:a:mode=600"),
        )

    def test_listen_with_tls(self) -> None:
        """A port is one place, with TLS or without."""
        self.assert_refused(
            f"listen = {CORE_SPEC!r}: is there twice", listen=("tcp:8443", CORE_SPEC)
        )

    def test_core(self) -> None:
        for core in [
            "Master", "", 5, "http://core", "https://", "https://core/", "HTTPS://core",
            "https://core/path", "https://me@core", "https://core?x", "https://core#x",
            "https://core:", "https://core:0", "https://core:65536", "https://co re",
            "https://core:80:80", "https://[::1", "https://[:::]", "https://core\n",
        ]:  # fmt: skip
            self.assert_refused(
                f"core = {core!r}: must be master, isolated or https://HOST[:PORT], "
                "without a path",
                core=core,
            )

    def test_proxies(self) -> None:
        for proxy in ["localhost", "", "10.0.0.0/33", "10.0.0"]:
            self.assert_refused(
                f"trusted_proxies = {proxy!r}: must be an IP address, a network as in "
                "10.0.0.0/8, unix or *",
                trusted_proxies=["unix", proxy],
            )
        self.assert_refused(
            "trusted_proxies = 5: must be text, as in 10.0.0.0/8", trusted_proxies=[5]
        )

    def test_network_with_bits_of_a_host(self) -> None:
        """Such a network is a typing error, in the address or in its length."""
        self.assert_refused(
            "trusted_proxies = '10.1.2.3/8': has bits of a host; "
            "did you mean 10.0.0.0/8?",
            trusted_proxies=["10.1.2.3/8"],
        )

    def test_what_only_a_remote_core_has(self) -> None:
        for name in ["core_ca", "core_cert", "core_key"]:
            self.assert_refused(
                f"{name} = 'x.pem' and core = 'master': {name} is only for a core at "
                "https://HOST",
                **{name: "x.pem"},
            )

    def test_certificate_and_key_go_together(self) -> None:
        self.assert_refused(
            "core_cert = 'c.pem' and core_key not set: must be set together",
            core=REMOTE,
            core_cert="c.pem",
        )
        self.assert_refused(
            "core_cert not set and core_key = 'k.pem': must be set together",
            core=REMOTE,
            core_key="k.pem",
        )

    def test_a_core_elsewhere_is_not_served_here(self) -> None:
        self.assert_refused(
            f"core_listen = [{CORE_SPEC!r}] and core = {REMOTE!r}: core_listen is only "
            "for a core on this machine",
            core=REMOTE,
            core_listen=(CORE_SPEC,),
        )

    def test_core_listener_without_authorities(self) -> None:
        self.assert_refused(
            "core_listen = 'tls:1:certificate=c:key=k': ca is missing; clients must "
            "show a certificate signed by it",
            core_listen=("tls:1:certificate=c:key=k",),
        )


class JourneyTests(SynchronousTestCase):
    """Settings go to workers as JSON."""

    @given(MAPPINGS)
    @settings(deadline=None)
    def test_json_makes_equal_settings(self, mapping: dict[str, Any]) -> None:
        chosen = Settings(**mapping)
        self.assertEqual(
            Settings(**json.loads(json.dumps(chosen.as_mapping()))), chosen
        )

    def test_remote_core(self) -> None:
        chosen = Settings(core=REMOTE, core_ca="a", core_cert="c", core_key="k")
        self.assertEqual(
            Settings(**json.loads(json.dumps(chosen.as_mapping()))), chosen
        )


class SupervisingTests(SynchronousTestCase):
    """The settings that say how workers are watched and replaced."""

    def test_numbers_are_at_least_one(self) -> None:
        for name in ("max_requests", "reload_batch", "min_ready"):
            self.assertEqual(getattr(Settings(**{name: 3}), name), 3)  # type: ignore[arg-type]
            for wrong in (0, -1, True, "3", 2.0):
                with self.assertRaisesRegex(SettingsError, f"{name} = .*from 1 up"):
                    Settings(**{name: wrong})  # type: ignore[arg-type]

    def test_health_path(self) -> None:
        """A path of a URL, without a query and without escapes."""
        self.assertEqual(Settings(health_path="/a/b-c.d").health_path, "/a/b-c.d")
        for wrong in ("", "healthz", "/a?b", "/%41", "/ä", 3):
            with self.assertRaisesRegex(SettingsError, "must be the path of a URL"):
                Settings(health_path=wrong)  # type: ignore[arg-type]
