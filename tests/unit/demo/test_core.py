"""The demo site: its core's half, which counts and hears of visits."""

import json
import os
from typing import TYPE_CHECKING, Any, cast

from clusterapp.demo import core
from tests.unit.demo.demonstrating import DemoCase, visit

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred


class CounterTests(DemoCase):
    """The counter, in the core."""

    def post(self, **headers: str) -> "Deferred[Any]":
        return cast(
            "Deferred[Any]",
            self.core.post(
                "http://demo.invalid/counter",
                headers={name.replace("_", "-"): v for name, v in headers.items()},
                allow_redirects=False,
            ),
        )

    def test_curl_gets_a_line(self) -> None:
        self.post()
        self.assertEqual(
            self.text(self.post(Accept="*/*")), f"counter 2, core pid {os.getpid()}\n"
        )

    def test_json_for_who_asks(self) -> None:
        text = self.text(self.post(Accept="application/json"))
        self.assertEqual(json.loads(text), {"counter": 1, "core": os.getpid()})

    def test_browser_is_sent_back_to_the_page(self) -> None:
        """By 303, so that a reload of the page does not count again."""
        answer = self.answer(self.post(Accept="text/html,*/*;q=0.8"), 303)
        self.assertEqual(answer.headers.getRawHeaders("Location"), ["/"])
        self.assertEqual(self.board.counter, 1)

    def test_looking_does_not_count(self) -> None:
        text = self.text(self.core.get("http://demo.invalid/counter"))
        self.assertEqual(text, f"counter 0, core pid {os.getpid()}\n")

    def test_another_site_may_not_count(self) -> None:
        """Browsers tell by Sec-Fetch-Site, or at least by Origin."""
        self.text(self.post(Sec_Fetch_Site="cross-site"), 403)
        self.text(self.post(Sec_Fetch_Site="same-site"), 403)
        self.text(self.post(Origin="http://other.invalid"), 403)
        self.text(self.post(Origin="null"), 403)
        self.assertEqual(self.board.counter, 0)

    def test_own_page_may_count(self) -> None:
        self.text(self.post(Sec_Fetch_Site="same-origin"))
        self.text(self.post(Sec_Fetch_Site="none"))
        self.text(self.post(Origin="http://demo.invalid"))
        self.assertEqual(self.board.counter, 3)


class VisitTests(DemoCase):
    """What workers tell the core."""

    def test_a_client_cannot_tell(self) -> None:
        """What a worker forwards names the client it is forwarded for."""
        for name in ("Forwarded", "X-Forwarded-For"):
            self.text(
                self.core.post(
                    "http://demo.invalid/visits",
                    json=visit(0),
                    headers={name: "for=192.0.2.1"},
                ),
                403,
            )
        self.assertEqual(self.board.snapshot()["visits"], [])

    def test_a_worker_gets_the_board(self) -> None:
        """Its own visit included."""
        text = self.text(self.core.post("http://demo.invalid/visits", json=visit(3)))
        [latest] = json.loads(text)["visits"]
        self.assertEqual((latest["slot"], latest["number"]), (3, 1))

    def test_shares_add_up(self) -> None:
        self.board.add(visit(1, times=3))
        self.board.add(visit(0))
        facts = [
            (share["slot"], share["times"], share["percent"]) for share in self.shares()
        ]
        self.assertEqual(facts, [(0, 1, 25), (1, 3, 75)])

    def shares(self) -> list[dict[str, Any]]:
        return cast("list[dict[str, Any]]", self.board.snapshot()["shares"])

    def test_only_the_latest_are_kept(self) -> None:
        for _ in range(core.VISITS_KEPT + 5):
            self.board.add(visit(0))
        visits = cast("list[dict[str, object]]", self.board.snapshot()["visits"])
        self.assertEqual(len(visits), core.VISITS_KEPT)
        self.assertEqual(visits[0]["number"], core.VISITS_KEPT + 5)


class PresenceTests(DemoCase):
    """Workers that are there, whether they have served anything or not."""

    def shares(self) -> list[tuple[object, ...]]:
        """Return slot, pid, presence, and the number of starts of each worker."""
        found = cast("list[dict[str, Any]]", self.board.snapshot()["shares"])
        names = ("slot", "pid", "here", "starts")
        return [tuple(share[name] for name in names) for share in found]

    def join_as(self, slot: int, pid: int) -> "Deferred[Any]":
        worker = {"slot": slot, "pid": pid, "generation": 1}
        url = "http://demo.invalid/workers"
        return cast("Deferred[Any]", self.core.post(url, json=worker))

    def test_from_the_start(self) -> None:
        """A worker is seen as long as its connection is there."""
        self.join_as(1, 101)
        self.join_as(0, 100)
        self.core.flush()
        self.assertEqual(self.shares(), [(0, 100, True, 1), (1, 101, True, 1)])

    def test_killed_and_back(self) -> None:
        """It is seen leaving, and its successor is seen coming."""
        self.board.arrived({"slot": 0, "pid": 100, "generation": 1})
        self.board.left({"slot": 0, "pid": 100, "generation": 1})
        self.assertEqual(self.shares(), [(0, 100, False, 1)])
        self.board.arrived({"slot": 0, "pid": 200, "generation": 1})
        self.assertEqual(self.shares(), [(0, 200, True, 2)])

    def test_successor_that_comes_first(self) -> None:
        """As in a reload: the older one's end does not count."""
        self.board.arrived({"slot": 0, "pid": 100, "generation": 1})
        self.board.arrived({"slot": 0, "pid": 200, "generation": 2})
        self.board.left({"slot": 0, "pid": 100, "generation": 1})
        self.board.left({"slot": 7, "pid": 1, "generation": 1})
        self.assertEqual(self.shares(), [(0, 200, True, 2)])

    def test_a_client_cannot_join(self) -> None:
        """Workers forward what clients send, and say so."""
        asked = self.core.post(
            "http://demo.invalid/workers",
            json={"slot": 9, "pid": 1, "generation": 1},
            headers={"X-Forwarded-For": "192.0.2.1"},
        )
        self.text(asked, 403)
        self.assertEqual(self.shares(), [])
