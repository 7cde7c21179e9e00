"""The slot's cookie: what it says, and what is not believed."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.dispatch.cookies import SlotCookie

SECRET = bytes(range(32))

#: The cookie of slot 1 with that secret.
FIRST = b"1.JrEXWckhRDpyltl0BYj-LwXLo5YtiJaZyO3QrhFV4DM"


def value_in(field: bytes) -> bytes:
    """Take the cookie's value out of a Set-Cookie field."""
    return field.partition(b";")[0].partition(b"=")[2]


class SlotCookieTests(SynchronousTestCase):
    """One cookie, as it is made and read."""

    def setUp(self) -> None:
        self.cookie = SlotCookie("shop_slot", SECRET)

    def value(self, slot: int) -> bytes:
        return value_in(self.cookie.set_cookie(slot, secure=False))

    def test_field(self) -> None:
        """Scripts and other sites have no use for it."""
        field = self.cookie.set_cookie(3, secure=False)
        self.assertRegex(
            field,
            rb"\Ashop_slot=3\.[A-Za-z0-9_-]{43}; Path=/; HttpOnly; SameSite=Lax\Z",
        )
        self.assertEqual(self.cookie.set_cookie(3, secure=True), field + b"; Secure")

    @given(st.integers(0, 999_999))
    def test_what_was_made_is_believed(self, slot: int) -> None:
        self.assertEqual(self.cookie.slot(self.value(slot)), slot)

    def test_another_process_believes_it(self) -> None:
        """The secret and the name are all it takes; nothing is kept."""
        self.assertEqual(SlotCookie("shop_slot", SECRET).slot(self.value(7)), 7)

    def test_signature_is_for_ever(self) -> None:
        """Another version of the code believes it, too."""
        self.assertEqual(self.value(1), FIRST)

    def test_forged(self) -> None:
        """Another slot, secret or name has another signature."""
        _, mac = self.value(3).split(b".")
        for forged in (
            b"4." + mac,
            value_in(SlotCookie("shop_slot", b"guess").set_cookie(3, secure=False)),
            value_in(SlotCookie("slot", SECRET).set_cookie(3, secure=False)),
        ):
            self.assertIsNone(self.cookie.slot(forged), forged)

    @given(st.integers(0, 44), st.integers(0, 255))
    def test_changed(self, place: int, byte: int) -> None:
        """No byte of it can be another."""
        value = self.value(3)
        changed = value[:place] + bytes([byte]) + value[place + 1 :]
        self.assertEqual(self.cookie.slot(changed) is None, changed != value)

    def test_malformed(self) -> None:
        """A number has one way to be written, and nothing stands around it."""
        _, mac = self.value(3).split(b".")
        for malformed in (
            b"",
            b"3",
            b"3.",
            b"03." + mac,
            b"+3." + mac,
            b"-3." + mac,
            "³.".encode() + mac,
            b"3." + mac + b"=",
            b"3." + mac + b"\n",
            b'"3.' + mac + b'"',
            b" 3." + mac,
            b"1234567." + mac,
        ):
            self.assertIsNone(self.cookie.slot(malformed), malformed)

    def test_oversized(self) -> None:
        """Megabytes are not even looked at."""
        for huge in (b"3" * 10_000_000, b"3." + b"A" * 10_000_000):
            self.assertIsNone(self.cookie.slot(huge))

    @given(st.binary(max_size=100))
    def test_anything_else(self, value: bytes) -> None:
        self.assertIsNone(self.cookie.slot(value))
