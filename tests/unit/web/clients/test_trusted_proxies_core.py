"""The client address in the core, from the fields that a worker sends."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.http.syntax.message_head import end_to_end
from clusterapp.interfaces import Fields
from clusterapp.web.clients.trusted_proxies import TrustedInCore, TrustedProxies

_hosts = st.sampled_from(
    ["127.0.0.1", "10.0.0.1", "10.0.0.2", "192.0.2.1", "::1", "::ffff:10.0.0.1"]
)
_peers = st.builds(
    lambda host: (IPv6Address if ":" in host else IPv4Address)("TCP", host, 99), _hosts
) | st.just(UNIXAddress(None))
_nodes = _hosts | st.sampled_from(["unknown", "_x", "", "[::1]:8", "10.0.0.2:99", "a"])
_lists = st.lists(_nodes, max_size=4).map(", ".join)
_forwarded = st.lists(
    st.builds(
        'for="{}";proto={};host={}'.format,
        _nodes,
        st.sampled_from(["http", "https", "wss", ""]),
        st.sampled_from(["a", "b:80"]),
    )
    | st.sampled_from(['"', "for", "for=10.0.0.1", ";;"]),
    max_size=3,
).map(", ".join)
_fields = st.lists(
    st.tuples(st.sampled_from(["X-Forwarded-For", "x-forwarded-FOR"]), _lists)
    | st.tuples(st.just("Forwarded"), _forwarded)
    | st.tuples(
        st.just("X-Forwarded-Proto"),
        st.lists(st.sampled_from(["http", "HTTPS", ""]), max_size=3).map(",".join),
    )
    | st.tuples(
        st.just("Connection"),
        st.lists(
            st.sampled_from(["X-Forwarded-For", "forwarded", "x-forwarded-proto", ""])
        ).map(",".join),
    ),
    max_size=5,
).map(lambda lines: [(name.encode(), value.encode()) for name, value in lines])
_trusts = st.lists(
    st.sampled_from(["127.0.0.1", "10.0.0.0/8", "unix", "::1"]), unique=True
)


class AlikeTests(SynchronousTestCase):
    """A worker and the core, with the same proxies."""

    @given(_trusts, _peers, _fields, st.booleans())
    def test_same_client(
        self, trusts: list[str], peer: IAddress, fields: Fields, secure: bool
    ) -> None:
        """The client, its port, and whether it came over TLS are the same."""
        here, core = TrustedProxies(trusts), TrustedInCore(trusts)
        told = list(here.forwarded(peer=peer, secure=secure, fields=end_to_end(fields)))
        self.assertEqual(
            core.address_of_client(peer, told), here.address_of_client(peer, fields)
        )
        self.assertEqual(core.client_of(peer, told), here.client_of(peer, fields))
        self.assertEqual(
            core.is_secure(peer, told, secure=False),
            here.is_secure(peer, fields, secure=secure),
        )
