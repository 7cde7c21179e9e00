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
