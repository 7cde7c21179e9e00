"""The settings of distribution, and their option types."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.dispatch.keys import AffinityKey
from clusterapp.errors import SettingsError
from clusterapp.settings.listen import DISPATCHES
from clusterapp.settings.model import Settings
from clusterapp.settings.option_types import PORT, STICKY_KEY, choice
from clusterapp.settings.validation import InvalidValueError

TOKENS = st.text("abzABZ019!#$%&'*+.^_`|~-", min_size=1)


class DistributingTests(SynchronousTestCase):
    """What an operator can say of distribution, and what is refused."""

    def assert_refused(self, line: str, **values: Any) -> None:
        error = self.assertRaises(SettingsError, Settings, **values)
        self.assertEqual(str(error), line)

    def test_policies(self) -> None:
        for policy in DISPATCHES:
            self.assertEqual(Settings(dispatch=policy).dispatch, policy)
        for wrong in ("Shared", "", "random", 5, ["shared"]):
            self.assert_refused(
                f"dispatch = {wrong!r}: must be shared, reuseport, round-robin, "
                "least-connections or sticky",
                dispatch=wrong,
            )

    def test_policy_of_a_listener(self) -> None:
        """It wins over that of all; one without has none, which is to be told."""
        chosen = Settings(
            dispatch="sticky", listen=("tcp:80", "tcp:81:dispatch=round-robin")
        )
        policies = [listener.dispatch for listener in chosen.listeners]
        self.assertEqual(policies, [None, "round-robin"])

    def test_same_place_with_two_policies(self) -> None:
        self.assert_refused(
            "listen = 'tcp:80:dispatch=sticky': is there twice",
            listen=("tcp:80", "tcp:80:dispatch=sticky"),
        )

    def test_sticky_keys(self) -> None:
        for key in ("client-ip", "cookie", "cookie:sid", "header:X-Session", "query:s"):
            self.assertEqual(Settings(sticky=key).sticky, key)

    def test_wrong_sticky_keys(self) -> None:
        """A name is a token, and only a cookie has one of itself."""
        for wrong in (
            "", "ip", "Cookie", "header", "query", "header:", "cookie:", "client-ip:x",
            "header:X Session", "header:X:Y", "cookie:a=b", "cookie:a;b", "query:é",
            "query:a/b", "header:X\n", 5, ["cookie"],
        ):  # fmt: skip
            self.assert_refused(
                f"sticky = {wrong!r}: must be client-ip, cookie, cookie:NAME, "
                "header:NAME or query:NAME",
                sticky=wrong,
            )

    @given(st.sampled_from(["cookie", "header", "query"]), TOKENS)
    def test_whatever_is_accepted_can_be_looked_for(
        self, source: str, name: str
    ) -> None:
        key = STICKY_KEY.validate(f"{source}:{name}")
        self.assertEqual(AffinityKey.parse(key).name, name)

    def test_worker_ports(self) -> None:
        self.assertEqual(Settings(worker_ports=3001).worker_ports, 3001)
        for wrong in (0, -1, 65536, True, "3001", 3001.0, [3001]):
            self.assert_refused(
                f"worker_ports = {wrong!r}: must be a port, from 1 to 65535",
                worker_ports=wrong,
            )


class OptionTypeTests(SynchronousTestCase):
    """How values are read, and what stands for them."""

    def test_choice(self) -> None:
        """It stands for its words, or for what they are called."""
        side = choice(("left", "right", "both"))
        self.assertEqual(side.metavar, "left|right|both")
        self.assertEqual(choice(("left", "right"), "SIDE").metavar, "SIDE")
        self.assertEqual(side.validate(side.read("both")), "both")
        for wrong in ("", "lef", None, 1):
            error = self.assertRaises(InvalidValueError, side.validate, wrong)
            self.assertIn("must be left, right or both", str(error))

    def test_port(self) -> None:
        """Text is read as a number; what is none stays, and is refused."""
        self.assertEqual(PORT.validate(PORT.read("3001")), 3001)
        for text in ("http", "+80", "0x50", "80.0", "", " 80", "8_0"):
            self.assertEqual(PORT.read(text), text)
            with self.assertRaisesRegex(SettingsError, "must be a port, from 1 to"):
                PORT.validate(PORT.read(text))


class AgentCheckTests(SynchronousTestCase):
    """Where agent checks are answered."""

    def test_port(self) -> None:
        self.assertIsNone(Settings().agent_check)
        spec = "tcp:9990:interface=127.0.0.1"
        self.assertEqual(Settings(agent_check=spec).agent_check, spec)

    def test_wrong_places(self) -> None:
        for wrong in (
            "unix:/run/agent", "tcp:9990:dispatch=sticky", "tcp:9990:proxy=v2",
            "fd:3", 9990,
        ):  # fmt: skip
            error = self.assertRaises(SettingsError, Settings, agent_check=wrong)
            self.assertIn(f"agent_check = {wrong!r}: must be a TCP port", str(error))
        error = self.assertRaises(SettingsError, Settings, agent_check="tcp:x")
        self.assertIn("agent_check = 'tcp:x'", str(error))
