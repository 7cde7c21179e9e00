"""Listen specs: what is read, what is refused, and how they are written."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.errors import SettingsError
from clusterapp.settings.listen import (
    DISPATCHES,
    PROXY_VERSIONS,
    FdListen,
    ListenSpec,
    SystemdListen,
    TcpListen,
    TlsFolderListen,
    TlsListen,
    UnixListen,
    parse,
    parse_core,
)

TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    min_size=1,
    max_size=20,
)
# Text with what means something in a spec, more often than chance would have it.
AWKWARD = st.text("\\:=[]a/ é", min_size=1, max_size=20)
NAMES = TEXT | AWKWARD
ADDRESSES = st.ip_addresses().map(str) | st.just("fe80::1%eth0")
PORTS = st.integers(0, 65535)

PLAIN_SPECS: st.SearchStrategy[ListenSpec] = st.one_of(
    st.builds(TcpListen, PORTS, ADDRESSES),
    st.builds(UnixListen, NAMES, st.integers(0, 0o777)),
    st.builds(FdListen, st.integers(0, 10**9 - 1)),
    st.builds(
        SystemdListen,
        st.integers(0, 99) | NAMES.filter(lambda text: not text.isdecimal()),
    ),
    st.builds(
        TlsListen,
        port=PORTS,
        certificate=NAMES,
        key=NAMES,
        ca=st.none() | NAMES,
        interface=ADDRESSES,
    ),
    st.builds(
        TlsFolderListen,
        port=PORTS,
        certificates=NAMES,
        ca=st.none() | NAMES,
        interface=ADDRESSES,
    ),
)
SPECS: st.SearchStrategy[ListenSpec] = st.builds(
    replace,
    PLAIN_SPECS,
    dispatch=st.none() | st.sampled_from(DISPATCHES),
    proxy=st.none() | st.sampled_from(PROXY_VERSIONS),
)


class ReadingTests(SynchronousTestCase):
    """What each kind of spec means."""

    def assert_spec(self, spec: str, meaning: ListenSpec) -> None:
        self.assertEqual(parse(spec), meaning)

    def test_tcp_listens_on_all_ipv4_interfaces(self) -> None:
        """Without an interface, TCP means all of IPv4."""
        self.assert_spec("tcp:8080", TcpListen(8080, "0.0.0.0"))

    def test_tcp_on_an_interface(self) -> None:
        self.assert_spec("tcp:0:interface=127.0.0.1", TcpListen(0, "127.0.0.1"))

    def test_ipv6_in_brackets_or_escaped(self) -> None:
        """Brackets and backslashes are two ways to write the same address."""
        self.assert_spec("tcp:80:interface=[::1]", TcpListen(80, "::1"))
        self.assert_spec(r"tcp:80:interface=\:\:1", TcpListen(80, "::1"))

    def test_addresses_have_one_form(self) -> None:
        """Two ways to write an address make the same listener."""
        self.assert_spec("tcp:80:interface=[0:0::0001]", TcpListen(80, "::1"))

    def test_unix(self) -> None:
        self.assert_spec("unix:/run/app.sock", UnixListen("/run/app.sock", 0o666))

    def test_unix_mode_is_octal(self) -> None:
        self.assert_spec("unix:/run/a:mode=660", UnixListen("/run/a", 0o660))
        self.assert_spec("unix:/run/a:mode=0600", UnixListen("/run/a", 0o600))

    def test_escapes_in_a_path(self) -> None:
        """A colon, an equals sign and a backslash can be part of a path."""
        self.assert_spec(r"unix:/a\:b\\c", UnixListen(r"/a:b\c"))
        self.assert_spec(r"unix:a\=b", UnixListen("a=b"))

    def test_any_character_can_be_escaped(self) -> None:
        self.assert_spec("unix:a\\\nb", UnixListen("a\nb"))

    def test_brackets_in_a_path_are_brackets(self) -> None:
        self.assert_spec("unix:[x]", UnixListen("[x]"))

    def test_fd(self) -> None:
        self.assert_spec("fd:3", FdListen(3))

    def test_systemd_by_index_and_by_name(self) -> None:
        """Digits are an index, anything else is a name."""
        self.assert_spec("systemd:0", SystemdListen(0))
        self.assert_spec("systemd:http", SystemdListen("http"))

    def test_tls(self) -> None:
        self.assert_spec(
            "tls:443:key=k.pem:certificate=c.pem:interface=[::]",
            TlsListen(port=443, certificate="c.pem", key="k.pem", interface="::"),
        )

    def test_tls_with_authorities(self) -> None:
        self.assert_spec(
            "tls:443:certificate=c:key=k:ca=a",
            TlsListen(port=443, certificate="c", key="k", ca="a"),
        )

    def test_tls_with_a_folder(self) -> None:
        """One certificate for each name that clients ask for."""
        self.assert_spec(
            "tls:443:certificates=/etc/shop",
            TlsFolderListen(port=443, certificates="/etc/shop"),
        )
        self.assert_spec(
            "tls:443:interface=[::1]:ca=a:certificates=f",
            TlsFolderListen(port=443, certificates="f", ca="a", interface="::1"),
        )

    def test_any_listener_can_have_a_policy_of_its_own(self) -> None:
        self.assert_spec("tcp:80:dispatch=sticky", TcpListen(80, dispatch="sticky"))
        self.assert_spec("unix:a:dispatch=shared", UnixListen("a", dispatch="shared"))
        self.assert_spec(
            "fd:3:dispatch=round-robin", FdListen(3, dispatch="round-robin")
        )
        self.assertIsNone(parse("tcp:80").dispatch)

    def test_any_listener_can_expect_a_proxy(self) -> None:
        for version in ("v1", "v2", "auto"):
            self.assert_spec(
                f"systemd:http:proxy={version}", SystemdListen("http", proxy=version)
            )
        self.assert_spec(
            "tls:443:proxy=v2:certificates=f:dispatch=reuseport",
            TlsFolderListen(
                port=443, certificates="f", dispatch="reuseport", proxy="v2"
            ),
        )
        self.assertIsNone(parse("tcp:80").proxy)


class RefusalTests(SynchronousTestCase):
    """A wrong spec is refused in a line that says which part is wrong."""

    def assert_refused(self, spec: str, reason: str) -> None:
        error = self.assertRaises(SettingsError, parse, spec)
        self.assertEqual(str(error), f"{spec!r}: {reason}")

    def test_unknown_kind(self) -> None:
        for spec, kind in [("8080", "8080"), ("htp:80", "htp"), ("TCP:80", "TCP")]:
            self.assert_refused(
                spec,
                f"the kind '{kind}' is none of tcp, unix, fd, systemd, tls; "
                "a TCP port is written tcp:8080",
            )

    def test_no_kind(self) -> None:
        self.assert_refused("", "the kind is missing")
        self.assert_refused(":8080", "the kind is missing")
        self.assert_refused(
            "interface=127.0.0.1:tcp:80", "must begin with a kind, as in tcp:8080"
        )

    def test_wrong_port(self) -> None:
        for port in ["65536", "-1", "http", "+80", "8_0", " 80", "٨٠", "9" * 5000]:
            self.assert_refused(
                f"tcp:{port}", f"the port {port!r} must be a number from 0 to 65535"
            )

    def test_missing_words(self) -> None:
        self.assert_refused("tcp", "the port is missing")
        self.assert_refused("tcp:", "the port is missing")
        self.assert_refused("unix:", "the path is missing")
        self.assert_refused("fd", "the descriptor is missing")
        self.assert_refused("systemd:", "the name or index is missing")
        self.assert_refused("tls:443:key=k", "certificate is missing")
        self.assert_refused("tls:443:certificate=c", "key is missing")
        self.assert_refused("tls:certificates=f", "the port is missing")

    def test_tls_with_a_folder_and_a_certificate(self) -> None:
        for key in ("certificate", "key"):
            self.assert_refused(
                f"tls:443:certificates=f:{key}=x",
                f"{key} does not go with certificates, which is a folder",
            )

    def test_wrong_interface(self) -> None:
        """An interface is an address: a name could mean several."""
        for name in ["localhost", "300.1.1.1", "[", "fe80::1%a]b"]:
            quoted = name.replace(":", r"\:")
            self.assert_refused(
                f"tcp:80:interface={quoted}",
                f"the interface {name!r} must be an IP address",
            )

    def test_empty_interface(self) -> None:
        """An empty interface is not all interfaces: that would be an accident."""
        self.assert_refused("tcp:80:interface=", "interface is empty")
        self.assert_refused("tcp:80:interface=[]", "interface is empty")

    def test_wrong_mode(self) -> None:
        for mode in ["680", "66", "1777", "rw"]:
            self.assert_refused(
                f"unix:a:mode={mode}",
                f"the mode {mode!r} must be octal, as in mode=660",
            )

    def test_path_that_no_socket_can_have(self) -> None:
        """Bytes are counted, not characters."""
        parse("unix:" + "a" * 107)
        self.assert_refused("unix:" + "a" * 108, "the path is longer than 107 bytes")
        self.assert_refused("unix:" + "é" * 54, "the path is longer than 107 bytes")
        self.assert_refused("unix:a\0b", "has a NUL character in it")

    def test_wrong_descriptor(self) -> None:
        self.assert_refused("fd:-1", "the descriptor '-1' must be a number from 0 up")

    def test_unknown_key(self) -> None:
        self.assert_refused("tcp:80:backlog=5", "tcp has no key 'backlog'")
        self.assert_refused("fd:3:mode=660", "fd has no key 'mode'")

    def test_unknown_policy(self) -> None:
        for policy in ("random", "Sticky", "sticky "):
            self.assert_refused(
                f"tcp:80:dispatch={policy}",
                f"dispatch={policy} is none of shared, reuseport, round-robin, "
                "least-connections, sticky",
            )
        self.assert_refused("tcp:80:dispatch=", "dispatch is empty")

    def test_unknown_version_of_the_proxy_protocol(self) -> None:
        for version in ("v3", "1", "V1", "yes"):
            self.assert_refused(
                f"unix:a:proxy={version}", f"proxy={version} is none of v1, v2, auto"
            )
        self.assert_refused("unix:a:proxy=", "proxy is empty")

    def test_repeated_key(self) -> None:
        self.assert_refused("unix:a:mode=660:mode=600", "mode is given twice")
        self.assert_refused("fd:3:proxy=v1:proxy=v1", "proxy is given twice")

    def test_one_word_too_many(self) -> None:
        self.assert_refused("tcp:127.0.0.1:80", "the port '127.0.0.1' must be a "
                            "number from 0 to 65535")  # fmt: skip
        self.assert_refused("tcp:80:90", "the word '90' is one too many")
        self.assert_refused("tcp:80:", "the word '' is one too many")

    def test_dangling_backslash(self) -> None:
        for spec in ("unix:a\\", "unix:a\\\\\\", "tcp:80:interface=[a]\\"):
            self.assert_refused(spec, "the backslash at the end escapes nothing")
        self.assertEqual(parse("unix:a\\\\"), UnixListen("a\\"))

    def test_first_mistake(self) -> None:
        """Of several mistakes, the one that is written first is told."""
        self.assert_refused(
            "tcp:x:dispatch=y:proxy=z",
            "the port 'x' must be a number from 0 to 65535",
        )

    @given(st.text() | AWKWARD | AWKWARD.map("tcp:80:".__add__))
    @settings(deadline=None)
    def test_whatever_is_wrong_is_a_line(self, spec: str) -> None:
        """No text makes `parse` fail in another way, or say more than a line."""
        try:
            parse(spec)
        except SettingsError as error:
            self.assertEqual(len(str(error).splitlines()), 1)


class WritingTests(SynchronousTestCase):
    """The canonical form of a spec."""

    def test_defaults_are_left_out(self) -> None:
        for spec in ["tcp:8080", "unix:/run/a", "fd:3", "systemd:http"]:
            self.assertEqual(str(parse(spec)), spec)
        self.assertEqual(str(parse("tcp:80:interface=0.0.0.0")), "tcp:80")
        self.assertEqual(str(parse("unix:a:mode=666")), "unix:a")

    def test_ipv6_is_in_brackets(self) -> None:
        self.assertEqual(
            str(parse(r"tcp:80:interface=\:\:1")), "tcp:80:interface=[::1]"
        )

    def test_policy_and_proxy_come_last(self) -> None:
        spec = "tcp:80:proxy=auto:dispatch=sticky:interface=[::1]"
        self.assertEqual(
            str(parse(spec)), "tcp:80:interface=[::1]:dispatch=sticky:proxy=auto"
        )

    def test_modes_have_three_digits(self) -> None:
        self.assertEqual(str(UnixListen("a", 0o7)), "unix:a:mode=007")

    @given(SPECS)
    @settings(deadline=None)
    def test_reading_undoes_writing(self, spec: ListenSpec) -> None:
        self.assertEqual(parse(str(spec)), spec)


class PlaceTests(SynchronousTestCase):
    """What only one listener can have."""

    def test_options_do_not_make_another_place(self) -> None:
        self.assertEqual(parse("unix:a:mode=600").place, parse("unix:a:mode=660").place)
        self.assertEqual(
            parse("tls:80:certificate=c:key=k").place, parse("tcp:80").place
        )

    def test_neither_does_what_is_done_with_it(self) -> None:
        for spec in ("tcp:80", "unix:a", "fd:3", "systemd:http"):
            other = parse(f"{spec}:dispatch=sticky:proxy=v1")
            self.assertEqual(other.place, parse(spec).place)

    def test_different_places(self) -> None:
        specs = ["tcp:80", "tcp:80:interface=[::1]", "unix:80", "fd:80", "systemd:80"]
        self.assertEqual(len({parse(spec).place for spec in specs}), len(specs))

    def test_the_kernel_chooses(self) -> None:
        """Port 0 is another port each time; a core is told apart by its words."""
        self.assertIsNone(parse("tcp:0").place)
        spec = parse("tls:0:certificate=c:key=k")
        self.assertEqual(spec.place, str(spec))


class SocketNameTests(SynchronousTestCase):
    """What a listening socket is called while it goes from process to process."""

    def test_what_is_done_with_it_is_no_part(self) -> None:
        """Another policy, or another certificate, is no reason for a new socket."""
        for spec, name in [
            ("tcp:80:dispatch=sticky", "tcp:80"),
            ("tcp:80:interface=[::1]:proxy=v2", "tcp:80:interface=[::1]"),
            ("unix:a:mode=600:proxy=v1:dispatch=shared", "unix:a:mode=600"),
            ("fd:3:dispatch=round-robin", "fd:3"),
            ("systemd:http:dispatch=reuseport", "systemd:http"),
            ("tls:443:certificate=c:key=k:dispatch=sticky", "tcp:443"),
            (
                "tls:443:certificates=f:interface=[::]:proxy=v2",
                "tcp:443:interface=[::]",
            ),
        ]:
            self.assertEqual(parse(spec).socket_name, name)

    @given(SPECS)
    @settings(deadline=None)
    def test_names_are_specs(self, spec: ListenSpec) -> None:
        """Each names itself."""
        named = parse(spec.socket_name)
        self.assertEqual(str(named), spec.socket_name)
        self.assertEqual(named.socket_name, spec.socket_name)


class PurposeTests(SynchronousTestCase):
    """Not every listener is for everyone."""

    def test_the_core_listens_only_with_tls(self) -> None:
        for spec in ("tcp:443", "tls:443:certificates=f"):
            error = self.assertRaises(SettingsError, parse_core, spec)
            self.assertEqual(
                str(error), f"{spec!r}: must be a tls: listener with one certificate"
            )

    def test_the_core_asks_for_certificates(self) -> None:
        error = self.assertRaises(
            SettingsError, parse_core, "tls:1:certificate=c:key=k"
        )
        self.assertIn("ca is missing; clients must show a certificate", str(error))

    def test_the_core_has_no_policy(self) -> None:
        """Its clients are workers: nothing is distributed, nobody announced."""
        for word in ("dispatch=sticky", "proxy=v2"):
            spec = f"tls:1:certificate=c:key=k:ca=a:{word}"
            error = self.assertRaises(SettingsError, parse_core, spec)
            name = word.partition("=")[0]
            self.assertEqual(
                str(error), f"{spec!r}: {name} is for the workers' listeners"
            )

    def test_core_listener(self) -> None:
        spec = "tls:443:certificate=c:key=k:ca=a"
        self.assertEqual(parse_core(spec), parse(spec))
