"""What may be asked of a message's fields."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.messages import asks_upgrade, end_to_end, options, values


class EndToEndTests(SynchronousTestCase):
    """What a proxy passes on."""

    def test_hop_by_hop_fields_are_dropped(self) -> None:
        """Every field that RFC 9110 gives to one hop is left out, however spelt."""
        for name in (
            b"Connection",
            b"KEEP-ALIVE",
            b"Proxy-Connection",
            b"te",
            b"Transfer-Encoding",
            b"Upgrade",
            b"Proxy-Authenticate",
            b"Proxy-Authorization",
        ):
            self.assertEqual(end_to_end([(name, b"x"), (b"A", b"1")]), [(b"A", b"1")])

    def test_the_rest_is_as_it_was(self) -> None:
        """Order, repeats, spelling and empty values stay."""
        fields = [
            (b"Set-Cookie", b"a=1"),
            (b"x-UPPER", b""),
            (b"Set-Cookie", b"b=2"),
            (b"Trailer", b"X-Sum"),
            (b"Content-Length", b"3"),
        ]
        self.assertEqual(end_to_end(fields), fields)

    def test_what_connection_names_is_dropped(self) -> None:
        """All Connection lines count, each a list, in any case."""
        fields = [
            (b"connection", b"close, X-One"),
            (b"X-ONE", b"1"),
            (b"X-Two", b"2"),
            (b"X-Three", b"3"),
            (b"Connection", b"\tx-two ,,"),
            (b"x-one", b"again"),
        ]
        self.assertEqual(end_to_end(fields), [(b"X-Three", b"3")])

    def test_host_cannot_be_named_away(self) -> None:
        """A client cannot make an invalid request of a valid one."""
        fields = [(b"Host", b"a"), (b"Connection", b"host")]
        self.assertEqual(end_to_end(fields), [(b"Host", b"a")])


class LookupTests(SynchronousTestCase):
    """Finding fields."""

    def test_values_come_in_order(self) -> None:
        """Each line gives a value, whatever the case of its name."""
        fields = [(b"A", b"1"), (b"b", b"2"), (b"a", b"3")]
        self.assertEqual(values(fields, b"a"), [b"1", b"3"])

    def test_options_of_all_lines(self) -> None:
        """Options are gathered from all lines, in lower case."""
        fields = [(b"Connection", b"Keep-Alive, Close"), (b"connection", b"TE")]
        self.assertEqual(options(fields), {b"keep-alive", b"close", b"te"})
        self.assertEqual(options([(b"A", b"close")]), frozenset())

    def test_upgrade_needs_both_fields(self) -> None:
        """Upgrade alone is no offer, nor is Connection alone."""
        upgrade, connection = (b"upgrade", b"websocket"), (b"connection", b"a, UPGRADE")
        self.assertTrue(asks_upgrade([upgrade, connection]))
        self.assertFalse(asks_upgrade([upgrade]))
        self.assertFalse(asks_upgrade([connection]))
