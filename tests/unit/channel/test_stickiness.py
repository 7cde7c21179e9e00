"""The settings of session affinity, as they are sent to workers."""

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.stickiness import Stickiness

WORDS = st.builds(
    Stickiness,
    listeners=st.lists(st.text()).map(tuple),
    key=st.text(),
    slots=st.lists(st.integers(0, 4095)).map(tuple),
    secret=st.text("0123456789abcdef"),
)


class StickinessTests(SynchronousTestCase):
    """What is told is what is heard."""

    @given(WORDS)
    def test_round_trips(self, how: Stickiness) -> None:
        """As JSON, and within a bootstrap that is written as JSON itself."""
        self.assertEqual(Stickiness.from_json(how.to_json()), how)
        written = json.loads(json.dumps(how.as_mapping()))
        self.assertEqual(Stickiness.from_mapping(written), how)

    def test_can_be_compared_and_kept(self) -> None:
        """What is read has the types of what is written, so it can be a key."""
        how = Stickiness(("0 tcp:80",), "cookie", (0, 1), "00ff")
        self.assertEqual({Stickiness.from_json(how.to_json()): 1}, {how: 1})

    def test_fits_into_a_message(self) -> None:
        """AMP's longest value is 65,535 bytes; there are 4095 processes at most."""
        listeners = tuple(f"{n} tcp:{n}:interface=127.0.0.1" for n in range(200))
        how = Stickiness(listeners, "cookie:session", tuple(range(4095)), "0" * 64)
        self.assertLess(len(how.to_json()), 65_535)
