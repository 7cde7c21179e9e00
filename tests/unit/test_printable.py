"""What is escaped in text of others."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.printable import printable


class PrintableTests(SynchronousTestCase):
    """No text can steer a terminal, fake a line, or be too much for an encoding."""

    def test_escaped(self) -> None:
        """C0, DEL and C1 controls, bidi overrides, other line ends, lone surrogates."""
        for sent, shown in (
            ("\x1b[2J", "\\x1b[2J"),
            ("a\rb", "a\\rb"),
            ("\0\x7f\x85\x9b", "\\x00\\x7f\\x85\\x9b"),
            ("\u202e\u2028", "\\u202e\\u2028"),
            ("\udcff", "\\udcff"),
        ):
            self.assertEqual(printable(sent), shown)

    def test_kept(self) -> None:
        self.assertEqual(printable("a\n\tb é → 漢 🙂"), "a\n\tb é → 漢 🙂")
        self.assertEqual(printable("a\n\tb", ""), "a\\n\\tb")

    @given(st.text(st.characters(exclude_categories=())))
    def test_any_text(self, text: str) -> None:
        """What comes out is printable, and UTF-8 can hold it."""
        found = printable(text)
        self.assertTrue(found.replace("\n", "").replace("\t", "").isprintable())
        found.encode()
        self.assertEqual(printable(found), found)
