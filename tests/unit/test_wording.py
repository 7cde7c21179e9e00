"""Nouns in messages."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.wording import counted, with_article


class WordingTests(SynchronousTestCase):
    """Numbers and articles."""

    def test_counted(self) -> None:
        self.assertEqual(counted(0, "worker"), "0 workers")
        self.assertEqual(counted(1, "worker"), "1 worker")
        self.assertEqual(counted(1000, "request", ","), "1,000 requests")

    def test_article(self) -> None:
        """The operations of a master are such nouns."""
        self.assertEqual(with_article("reload"), "a reload")
        self.assertEqual(with_article("upgrade"), "an upgrade")
