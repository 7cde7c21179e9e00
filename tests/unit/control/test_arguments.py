"""The command line of ``clusterctl``."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.arguments import parse


class ArgumentTests(SynchronousTestCase):
    """Options that every command has."""

    def test_they_may_stand_anywhere(self) -> None:
        """Before the command and behind it they mean the same."""
        options = ["--socket", "/run/a.sock", "--state", "/var/a", "--json"]
        for argv in ([*options, "status"], ["status", *options]):
            chosen = parse(argv)
            self.assertEqual(chosen.socket, "/run/a.sock")
            self.assertEqual(chosen.state, "/var/a")
            self.assertTrue(chosen.as_json)

    def test_none(self) -> None:
        chosen = parse(["status"])
        self.assertEqual(
            (chosen.socket, chosen.state, chosen.as_json), (None, None, False)
        )

    def test_the_last_word_counts(self) -> None:
        chosen = parse(["--socket", "a", "status", "--socket", "b"])
        self.assertEqual(chosen.socket, "b")


class DispatchTests(SynchronousTestCase):
    """``clusterctl dispatch``."""

    def test_policy_alone(self) -> None:
        """What is not said stays as it is."""
        chosen = parse(["dispatch", "least-connections"])
        self.assertEqual(
            (chosen.policy, chosen.sticky, chosen.listener),
            ("least-connections", None, None),
        )

    def test_all(self) -> None:
        words = ["dispatch", "--listener", "tcp:1", "sticky", "--sticky", "cookie:a"]
        chosen = parse(words)
        self.assertEqual(
            (chosen.policy, chosen.sticky, chosen.listener),
            ("sticky", "cookie:a", "tcp:1"),
        )

    def test_unknown_policy(self) -> None:
        error = self.assertRaises(SystemExit, parse, ["dispatch", "Shared"])
        self.assertEqual(error.code, 2)
