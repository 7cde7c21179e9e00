"""What a master and its child say to each other, both ends in memory."""

import socket

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionClosed
from twisted.protocols import amp
from twisted.protocols.amp import UnknownRemoteError
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.bootstrap import Bootstrap
from clusterapp.channel.ends import ChildEnd, MasterEnd, WorkerStats
from clusterapp.interfaces import StaticFolder
from clusterapp.settings.model import Settings
from tests.unit.channel.passing import channel
from tests.unit.fakes import Master, descriptors


class Child:
    """Writes down what the master says."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.adopted: list[socket.socket] = []

    def activate(self) -> None:
        self.heard.append("activate")

    adopts = True

    def adopt(self, connection: socket.socket, listener: str) -> None:
        self.adopted.append(connection)
        self.heard.append(("adopt", listener))

    def accept(self, listener: str, listening: socket.socket, *, shared: bool) -> None:
        self.heard.append(("accept", listener, listening.getsockname(), shared))
        listening.close()

    def refuse(self, listener: str) -> None:
        self.heard.append(("refuse", listener))

    def update_affinity(self, how: str) -> None:
        self.heard.append(("stick", how))

    def drain(
        self, *, spread: float, hand_over: bool, within: float | None = None
    ) -> None:
        self.heard.append(("drain", spread, hand_over, within))

    def core_ready(self, ready: bool, *, back: bool) -> None:
        self.heard.append((ready, back))

    def cluster_health(self, *, ready: bool, detail: str) -> None:
        self.heard.append((ready, detail))

    def broken(self, why: str) -> None:
        self.heard.append(why)

    def reopen_logs(self) -> None:
        self.heard.append("reopen")

    def master_gone(self) -> None:
        self.heard.append("gone")


class ChannelCase(SynchronousTestCase):
    """Both ends of one channel."""

    def setUp(self) -> None:
        self.master = Master()
        self.child = Child()
        self.master_end = MasterEnd(self.master)
        self.child_end = ChildEnd(self.child)
        self.pump = channel(self.master_end, self.child_end)


class WordsTests(ChannelCase):
    """What can be said in words alone."""

    def failed(self, reason: str, traceback: str) -> tuple[str, str]:
        """Send `Failed` from the child; return what the master receives."""
        told = self.child_end.failed(loading=True, reason=reason, traceback=traceback)
        self.pump.flush()
        self.successResultOf(told)
        [heard] = self.master.failures
        self.assertIs(heard[0], True)
        return heard[1:]

    def test_ready(self) -> None:
        told = self.child_end.ready()
        self.assertNoResult(told)
        self.pump.flush()
        self.successResultOf(told)
        self.assertEqual((self.master.readies, self.master.static), (1, None))

    def test_static_files(self) -> None:
        """A worker says where its static files are, whatever the name is like."""
        static = StaticFolder("/static/", "/srv/sh\udcffop")
        told = self.child_end.ready(static)
        self.pump.flush()
        self.successResultOf(told)
        self.assertEqual(
            self.master.static, StaticFolder("/static/", "/srv/sh\\udcffop")
        )

    def test_orders(self) -> None:
        """The child hears them in their order; each is acknowledged."""
        told = [
            self.master_end.activate(),
            self.master_end.core_ready(True, back=False),
            self.master_end.core_ready(False, back=True),
            self.master_end.cluster_health(ready=False, detail="{}"),
            self.master_end.broken("no \ud800"),
            self.master_end.reopen_logs(),
            self.master_end.refuse("0 tcp:80"),
            self.master_end.update_affinity("{}"),
            self.master_end.drain(spread=1.5, hand_over=True, within=2.5),
        ]
        self.pump.flush()
        for each in told:
            self.successResultOf(each)
        self.assertEqual(
            self.child.heard,
            [
                "activate",
                (True, False),
                (False, True),
                (False, "{}"),
                "no \\ud800",
                "reopen",
                ("refuse", "0 tcp:80"),
                ("stick", "{}"),
                ("drain", 1.5, True, 2.5),
            ],
        )

    def test_trial_and_report(self) -> None:
        """What a child says of itself, besides that it is ready."""
        self.child_end.loaded()
        stats = WorkerStats(
            lag=0.25, requests=7, active=1, connections=2, relayed=3, rss=4096
        )
        self.child_end.report(stats)
        self.pump.flush()
        self.assertEqual(self.master.loadeds, 1)
        self.assertEqual(self.master.pulses, [stats])

    def test_failure_that_is_not_one_of_loading(self) -> None:
        self.child_end.failed(loading=False, reason="no", traceback="why")
        self.pump.flush()
        self.assertEqual(self.master.failures, [(False, "no", "why")])

    def test_long_traceback_is_cut_at_its_beginning(self) -> None:
        """One AMP value holds 65,535 bytes; the end of a traceback says most."""
        reason, traceback = self.failed("no" * 40_000, "x" * 70_000 + "last line")
        self.assertTrue(reason.startswith("nono"))
        self.assertTrue(traceback.endswith("xxx" + "last line"))
        self.assertGreater(len(traceback), 16_000)

    def test_every_character_that_is_long_in_utf_8(self) -> None:
        """The limit is one of bytes, not of characters."""
        for character in "ä", "\N{EURO SIGN}", "\N{SNAKE}":
            self.setUp()
            _, traceback = self.failed("no", character * 65_535 + "!")
            self.assertTrue(traceback.endswith(character + "!"))

    def test_what_utf_8_cannot_hold(self) -> None:
        """A file name that is not in UTF-8 stands in a traceback as surrogates."""
        reason, traceback = self.failed("no \udcff", "\udc80" * 70_000)
        self.assertEqual(reason, "no \\udcff")
        self.assertTrue(traceback.endswith("\\udc80"))

    def test_responder_that_raises(self) -> None:
        """It is an error for the command alone: the channel carries the next one."""

        def fail(_why: str) -> None:
            raise ZeroDivisionError("no")

        patch = self.patch(self.child, "broken", fail)
        trapped = self.master_end.broken("why")
        trapped.addErrback(lambda why: why.trap(UnknownRemoteError))
        self.pump.flush()
        self.assertIs(self.successResultOf(trapped), UnknownRemoteError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        patch.restore()
        told = self.master_end.broken("why")
        self.pump.flush()
        self.successResultOf(told)
        self.assertEqual(self.child.heard, ["why"])

    def test_answer_that_makes_trouble(self) -> None:
        """What raises when an answer comes ends neither channel nor next command."""
        told = self.child_end.ready()
        told.addCallback(lambda _: 1 // 0)
        self.pump.flush()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        told = self.child_end.ready()
        self.pump.flush()
        self.successResultOf(told)

    def test_command_that_is_not_known(self) -> None:
        """Of another version, for example: it is refused, and nothing ends."""

        class Unheard(amp.Command):
            pass

        refused = self.child_end.callRemote(Unheard)
        refused.addErrback(lambda why: why.trap(amp.UnhandledCommand))
        self.pump.flush()
        self.assertIs(self.successResultOf(refused), amp.UnhandledCommand)
        told = self.child_end.ready()
        self.pump.flush()
        self.successResultOf(told)

    def test_death_of_the_master(self) -> None:
        """The child is notified, and pending commands fail."""
        told = self.child_end.ready()
        self.pump.flush()
        waiting = self.child_end.ready()
        self.master_end.transport.abortConnection()  # type: ignore[union-attr]
        self.pump.flush()
        self.successResultOf(told)
        self.failureResultOf(waiting, ConnectionClosed)
        self.assertEqual(self.child.heard, ["gone"])

    def test_words_to_a_child_that_is_gone(self) -> None:
        waiting = self.master_end.drain(spread=0.0, hand_over=False)
        self.child_end.transport.abortConnection()  # type: ignore[union-attr]
        self.pump.flush()
        self.failureResultOf(waiting, ConnectionClosed)
        self.failureResultOf(
            self.master_end.core_ready(True, back=False), ConnectionClosed
        )

    def test_master_lets_go(self) -> None:
        """It closes the channel at once, whatever is still to be read."""
        self.master_end.close()
        self.pump.flush()
        self.assertEqual(self.child.heard, ["gone"])


class DescriptorTests(ChannelCase):
    """What goes with a descriptor."""

    def setUp(self) -> None:
        super().setUp()
        self.near, self.far = socket.socketpair()
        for each in (self.near, self.far):
            self.addCleanup(each.close)

    def assert_arrived(self, arrived: socket.socket) -> None:
        """It is a duplicate, which no other process inherits."""
        with arrived:
            self.assertFalse(arrived.get_inheritable())
            arrived.send(b"a")
        self.assertEqual(self.near.recv(1), b"a")
        self.assertNotEqual(self.far.fileno(), -1)

    def test_adopt_while_draining(self) -> None:
        """The child does not claim it: it stays for another worker."""
        self.child.adopts = False
        told = self.master_end.adopt(self.far, "1 tcp:81")
        self.pump.flush()
        self.assertFalse(self.successResultOf(told))
        self.assertEqual(self.child.adopted, [])

    def test_terminating(self) -> None:
        """The master learns that the child has received SIGTERM."""
        self.child_end.terminating()
        self.pump.flush()
        self.assertEqual(self.master.terminated, 1)

    def test_adopt(self) -> None:
        """The child hears by which listener the connection has come."""
        told = self.master_end.adopt(self.far, "1 tcp:81")
        self.pump.flush()
        self.successResultOf(told)
        [arrived] = self.child.adopted
        self.assert_arrived(arrived)
        self.assertEqual(self.child.heard, [("adopt", "1 tcp:81")])

    def test_hand_over(self) -> None:
        for takes in (True, False):
            self.master.takes = takes
            told = self.child_end.hand_over(self.far, "1 tcp:81")
            self.pump.flush()
            self.assertIs(self.successResultOf(told), takes)
            self.assert_arrived(self.master.handed_over.pop())
        self.assertEqual(self.master.listeners, ["1 tcp:81"] * 2)

    def test_accept(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = listening.getsockname()
            told = [
                self.master_end.accept("0 tcp:0", listening, shared=shared)
                for shared in (True, False)
            ]
            self.pump.flush()
        for each in told:
            self.successResultOf(each)
        self.assertEqual(
            self.child.heard,
            [("accept", "0 tcp:0", address, shared) for shared in (True, False)],
        )

    def test_channel_that_is_gone(self) -> None:
        """Commands on a lost channel fail, and leave no descriptor open."""
        before = descriptors()
        self.master_end.close()
        self.pump.flush()
        for told in (
            self.master_end.adopt(self.far, "0 tcp:80"),
            self.master_end.accept("0 tcp:80", self.far, shared=True),
            self.child_end.hand_over(self.far, "0 tcp:80"),
        ):
            self.failureResultOf(told, ConnectionClosed)
        self.assertEqual(descriptors(), before)


PATHS = st.text(st.characters(blacklist_characters="\0"))

BOOTSTRAPS = st.builds(
    Bootstrap,
    role=st.sampled_from(["worker", "core"]),
    slot=st.integers(-1, 10_000),
    generation=st.integers(1),
    settings=st.just({"workers": 2}),
    sockets=st.dictionaries(st.text(), st.integers(4, 1000)),
    core_socket=st.none() | PATHS,
    cache=st.none() | PATHS,
    access_log=st.none() | PATHS | st.integers(4, 1000),
    listeners=st.lists(PATHS).map(tuple),
    shared=st.lists(PATHS).map(tuple),
    row=st.integers(0, 4095),
    path=st.lists(PATHS).map(tuple),
    python_path=st.none() | PATHS,
)


class BootstrapTests(SynchronousTestCase):
    """The document that a child reads first."""

    @given(BOOTSTRAPS)
    @example(
        Bootstrap(
            role="core",
            slot=-1,
            generation=1,
            settings={},
            core_socket="/tmp/\udcff",
            path=("\udc80",),
        )
    )
    def test_round_trip(self, bootstrap: Bootstrap) -> None:
        """Names of files that are not in UTF-8 arrive as they were."""
        document = bootstrap.to_bytes()
        self.assertTrue(document.isascii())
        self.assertEqual(Bootstrap.from_bytes(document), bootstrap)

    def test_settings_arrive(self) -> None:
        """The child makes equal settings of what it reads."""
        settings = Settings(app="shop:app", workers=2, listen=("tcp:1", "unix:/a"))
        bootstrap = Bootstrap(
            role="worker", slot=0, generation=1, settings=settings.as_mapping()
        )
        read = Bootstrap.from_bytes(bootstrap.to_bytes())
        self.assertEqual(Settings(**read.settings), settings)
