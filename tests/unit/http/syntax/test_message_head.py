"""What may be asked of a message's fields."""

from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.syntax.message_head import (
    asks_upgrade,
    end_to_end,
    options,
    values,
    without_hop_by_hop,
)


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

    def test_fields_for_all_cannot_be_named_away(self) -> None:
        """What proxies say of a client, and what RFC 9110 gives to all recipients."""
        fields = [
            (name, b"1")
            for name in (
                *(b"X-Forwarded-For", b"x-forwarded-PROTO", b"X-Forwarded-Whatever"),
                *(b"Forwarded", b"X-Real-IP", b"Via", b"True-Client-IP"),
                *(b"CF-Connecting-IP", b"X-Client-IP", b"Client-Cert"),
                *(b"Host", b"Authorization", b"Cookie", b"Cache-Control", b"Range"),
                *(b"If-Match", b"Content-Type", b"Content-Length", b"Accept-Encoding"),
                *(b"Origin", b"Sec-Fetch-Site", b"Sec-WebSocket-Key", b"Expect"),
            )
        ]
        named = b" ,,".join(name.swapcase() for name, _ in fields)
        for connection in (
            [(b"Connection", named)],
            [(b"connection", b""), (b"CONNECTION", b"\t" + named + b",, close")],
            [(b"Connection", name) for name, _ in fields],
        ):
            self.assertEqual(end_to_end([*connection, *fields]), fields)
            self.assertEqual(end_to_end([*fields, *connection]), fields)

    def test_within_one_server(self) -> None:
        """Between workers nothing is dropped but the fields of every hop."""
        fields = [(b"X-One", b"1"), (b"Connection", b"X-One"), (b"TE", b"trailers")]
        self.assertEqual(without_hop_by_hop(fields), [(b"X-One", b"1")])


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
