"""A listener, and the policy that holds for it."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.dispatch.policies import LeastConnections, RoundRobin
from clusterapp.listening.listen_sockets import listen
from clusterapp.listening.reuseport import Group
from clusterapp.master.distribution.listener_policy import PublicListener
from clusterapp.settings.listen import DISPATCHES, TcpListen, parse


class DoorTests(SynchronousTestCase):
    """What each policy means for a listener."""

    def setUp(self) -> None:
        spec = TcpListen(0, "127.0.0.1")
        self.listener = listen(spec, {})
        self.group = Group(self.listener.socket)
        self.addCleanup(self.group.close)
        self.public = PublicListener(0, "0 tcp", spec, self.listener)

    def facts(self) -> tuple[bool, bool, bool, str]:
        public = self.public
        return (
            public.is_shared,
            public.is_sticky,
            public.is_the_masters,
            public.who_decides,
        )

    def test_at_first(self) -> None:
        self.assertEqual(self.facts(), (True, False, False, "workers"))

    def test_policies(self) -> None:
        expected = {
            "shared": (True, False, False, "workers"),
            "reuseport": (False, False, False, "kernel"),
            "round-robin": (False, False, True, "master"),
            "least-connections": (False, False, True, "master"),
            "sticky": (False, True, True, "master"),
        }
        self.assertEqual(set(expected), set(DISPATCHES))
        for dispatch, facts in expected.items():
            self.public.follow(
                dispatch, self.group if dispatch == "reuseport" else None
            )
            self.assertEqual(self.facts(), facts, dispatch)
        self.public.follow("sticky", self.group)
        self.assertEqual(self.facts(), (False, True, False, "kernel"))

    def test_who_chooses_where_the_master_does(self) -> None:
        for dispatch in DISPATCHES:
            self.public.follow(dispatch, None)
            in_turn = dispatch in {"round-robin", "sticky"}
            kind = RoundRobin if in_turn else LeastConnections
            self.assertIsInstance(self.public.policy, kind, dispatch)

    def test_what_workers_accept_from(self) -> None:
        self.assertIs(self.public.listening(3), self.listener.socket)
        self.public.follow("reuseport", self.group)
        self.assertIs(self.public.listening(1), self.group.members[2])
        self.public.follow("round-robin", None)
        self.assertIsNone(self.public.listening(0))

    def test_kinds_of_listeners(self) -> None:
        """Of TLS nothing can be read; only a TCP port of ours can be divided."""
        for text, peeked, tcp in (
            ("tcp:80", True, True),
            ("tls:443:certificate=/c:key=/k", False, True),
            ("tls:443:certificates=/d", False, True),
            ("unix:/a.sock", True, False),
            ("fd:3", True, False),
        ):
            public = PublicListener(0, text, parse(text), self.listener)
            self.assertEqual((public.can_be_peeked, public.is_tcp), (peeked, tcp), text)
