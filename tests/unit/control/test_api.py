"""The control API over the engine that serves it, in memory, with a fake cluster."""

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.control.api import ControlApi
from clusterapp.errors import BusyError, OperationError, UnknownSlotError
from clusterapp.http.klein.klein_resource import klein_resource
from clusterapp.http.site import ClusterSite
from clusterapp.operations import Dispatch, Health, OperationResult, Step
from tests.unit.control.operating import CONFIG, FakeOperations, status
from tests.unit.http.clients import Client
from tests.unit.http.replies import Reply, parse

DONE = OperationResult(ok=True, text="all workers are new")
DONE_LINE = {
    "verdict": {"ok": True, "text": "all workers are new", "traceback": ""},
}


class ApiCase(SynchronousTestCase):
    """An API and its clients."""

    def setUp(self) -> None:
        self.operations = FakeOperations()
        self.clock = Clock()
        api = ControlApi(self.operations)
        self.site = ClusterSite(self.clock, klein_resource(api.app))
        self.addCleanup(self.assert_nothing_is_left)

    def assert_nothing_is_left(self) -> None:
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def begin(self, method: str, target: str, body: bytes = b"") -> Client:
        """Send a request."""
        client = Client(self.site, self.clock)
        self.addCleanup(client.goes)
        head = f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}"
        client.send(head.encode() + b"\r\n\r\n" + body)
        return client

    def reply(self, client: Client, method: str = "GET") -> Reply:
        """Return the only response that has come."""
        [reply] = parse(client.received, [method.encode()], ended=False)
        return reply

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
        """Send a request that is answered at once, with JSON."""
        reply = self.reply(self.begin(method, target, body), method)
        self.assertEqual(reply.values(b"content-type"), [b"application/json"])
        self.assertTrue(reply.body.endswith(b"}\n"), reply.body)
        return reply.status, json.loads(reply.body)

    def lines(self, client: Client) -> list[Any]:
        """Return the lines of a response that has ended."""
        reply = self.reply(client)
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.values(b"content-type"), [b"application/x-ndjson"])
        return [json.loads(line) for line in reply.body.splitlines()]


class DocumentTests(ApiCase):
    """What is answered at once."""

    def test_documents(self) -> None:
        self.assertEqual(self.ask("GET", "/status"), (200, status()))
        self.assertEqual(self.ask("GET", "/config"), (200, CONFIG))
        self.assertEqual(self.ask("GET", "/livez"), (200, {"alive": True}))

    def test_head(self) -> None:
        """It says as much as GET, but for the document."""
        reply = self.reply(self.begin("HEAD", "/status"), "HEAD")
        self.assertEqual((reply.status, reply.body), (200, b""))

    def test_ready(self) -> None:
        answer = self.ask("GET", "/readyz")
        self.assertEqual(answer, (200, {"ready": True, "workers": 4}))

    def test_not_ready(self) -> None:
        self.operations.how = Health(ready=False, detail={"why": "it is draining"})
        answer = self.ask("GET", "/readyz")
        self.assertEqual(answer, (503, {"ready": False, "why": "it is draining"}))

    def test_master_that_fails(self) -> None:
        """The client hears of it, and the log has the traceback."""
        self.operations.document = {"pid": object()}
        code, document = self.ask("GET", "/status")
        self.assertEqual(code, 500)
        self.assertIn("not JSON serializable", document["error"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class OperationTests(ApiCase):
    """What takes a while."""

    def test_steps_as_they_happen(self) -> None:
        client = self.begin("POST", "/reload")
        self.assertIn(b"200 OK", client.received)  # before anything has happened
        self.operations.tell(Step("starting", 0))
        self.assertIn(b'{"step": "starting", "slot": 0}\n', client.received)
        self.operations.tell(Step("all are ready"))
        self.assertIn(b'{"step": "all are ready", "slot": null}\n', client.received)
        self.assertNotIn(b"verdict", client.received)
        self.operations.verdict.callback(DONE)
        self.assertEqual(
            self.lines(client),
            [
                {"step": "starting", "slot": 0},
                {"step": "all are ready", "slot": None},
                DONE_LINE,
            ],
        )

    def test_each_operation(self) -> None:
        """Each is asked for with what the client has said."""
        for target, body, did in (
            ("/reload", b"", ("reload",)),
            ("/reload", b"{}", ("reload",)),
            ("/upgrade", b" \n", ("upgrade",)),
            ("/scale", b'{"workers": 7}', ("scale", 7)),
            ("/scale", b'{"workers": 7, "force": true}', ("scale", 7, "forced")),
            ("/dispatch", b'{"policy": "shared"}', ("dispatch", Dispatch("shared"))),
            (
                "/dispatch",
                b'{"policy": "sticky", "sticky": "query:s", "listener": "tcp:1"}',
                ("dispatch", Dispatch("sticky", "query:s", "tcp:1")),
            ),
            ("/slots/0/restart", b"", ("restart", 0)),
            ("/slots/12/drain", b"", ("drain", 12)),
            ("/stop", b"", ("stop", False)),
            ("/stop", b'{"quick": true}', ("stop", True)),
            ("/stop", b'{"quick": false}', ("stop", False)),
        ):
            client = self.begin("POST", target, body)
            self.operations.verdict.callback(DONE)
            self.assertEqual(self.lines(client), [DONE_LINE])
            self.assertEqual(self.operations.did[-1], did)

    def test_operation_that_is_over_at_once(self) -> None:
        """Steps may be told before the operation is known to have begun."""

        def reload(tell: Any) -> Any:
            tell(Step("nothing to do"))
            self.operations.verdict.callback(DONE)
            return self.operations.verdict

        self.operations.reload = reload  # type: ignore[method-assign]
        client = self.begin("POST", "/reload")
        first = {"step": "nothing to do", "slot": None}
        self.assertEqual(self.lines(client), [first, DONE_LINE])

    def test_failure(self) -> None:
        client = self.begin("POST", "/upgrade")
        self.operations.verdict.callback(
            OperationResult(ok=False, text="no", traceback="T")
        )
        verdict = {"ok": False, "text": "no", "traceback": "T"}
        self.assertEqual(self.lines(client), [{"verdict": verdict}])

    def test_operation_that_breaks_its_word(self) -> None:
        """An error that no operation should end with is a verdict all the same."""
        client = self.begin("POST", "/reload")
        error = ZeroDivisionError("by zero")
        error.__cause__ = KeyError("stock")
        self.operations.verdict.errback(Failure(error))
        [line] = self.lines(client)
        self.assertFalse(line["verdict"]["ok"])
        self.assertEqual(line["verdict"]["text"], "the master failed: by zero")
        self.assertIn("ZeroDivisionError", line["verdict"]["traceback"])
        self.assertIn("KeyError: 'stock'", line["verdict"]["traceback"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_client_that_leaves(self) -> None:
        """The operation goes on, and has nobody to tell."""
        client = self.begin("POST", "/reload")
        cancelled: list[object] = []
        verdict = self.operations.verdict
        verdict.addErrback(cancelled.append)
        client.goes()
        self.operations.tell(Step("starting", 0))
        self.assertEqual(cancelled, [])
        verdict.callback(DONE)
        self.assertEqual(cancelled, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_next_request_on_the_connection(self) -> None:
        """A client may keep its connection."""
        client = self.begin("POST", "/reload")
        self.operations.verdict.callback(DONE)
        client.send(b"GET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
        replies = parse(client.received, [b"POST", b"GET"], ended=False)
        self.assertEqual([reply.status for reply in replies], [200, 200])


class StacksTests(ApiCase):
    """The stacks of workers."""

    def test_all(self) -> None:
        client = self.begin("POST", "/stacks")
        self.assertEqual(client.received, b"")
        self.operations.texts.callback({0: "a", 10: "b\n"})
        reply = self.reply(client)
        self.assertEqual(json.loads(reply.body), {"0": "a", "10": "b\n"})
        self.assertEqual(self.operations.did, [("stacks", None)])

    def test_one(self) -> None:
        client = self.begin("POST", "/slots/3/stacks")
        self.operations.texts.callback({3: "c"})
        self.assertEqual(json.loads(self.reply(client).body), {"3": "c"})
        self.assertEqual(self.operations.did, [("stacks", 3)])

    def test_core(self) -> None:
        client = self.begin("POST", "/slots/core/stacks")
        self.operations.texts.callback({"core": "c"})
        self.assertEqual(json.loads(self.reply(client).body), {"core": "c"})
        self.begin("POST", "/slots/core/restart")
        self.assertEqual(self.operations.did, [("stacks", "core"), ("restart", "core")])

    def test_client_that_leaves(self) -> None:
        """What the worker was asked for is not taken back."""
        client = self.begin("POST", "/stacks")
        failures: list[object] = []
        texts = self.operations.texts
        texts.addErrback(failures.append)
        client.goes()
        texts.callback({})
        self.assertEqual(failures, [])


class RefusalTests(ApiCase):
    """What the cluster does not do."""

    def test_busy(self) -> None:
        """Any refusal is a conflict, in the words of the cluster."""
        for refusal in (
            BusyError("a reload is under way"),
            OperationError("the core runs in the master"),
        ):
            self.operations.refusal = refusal
            answer = self.ask("POST", "/reload")
            self.assertEqual(answer, (409, {"error": str(refusal)}))

    def test_unknown_slot(self) -> None:
        self.operations.refusal = UnknownSlotError("there is no slot 9")
        for target in ("/slots/9/restart", "/slots/9/drain", "/slots/9/stacks"):
            answer = self.ask("POST", target)
            self.assertEqual(answer, (404, {"error": "there is no slot 9"}))

    def test_operation_that_cannot_begin(self) -> None:
        """A defect of the master is not the client's fault."""
        self.operations.refusal = ZeroDivisionError("by zero")
        code, document = self.ask("POST", "/reload")
        self.assertEqual(code, 500)
        self.assertIn("by zero", document["error"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class WrongRequestTests(ApiCase):
    """What nobody can mean; the answer names what is wrong."""

    def assert_wrong(self, target: str, body: bytes, *words: str) -> None:
        code, document = self.ask("POST", target, body)
        self.assertEqual(code, 400, document)
        for word in words:
            self.assertIn(word, document["error"])
        self.assertLess(len(document["error"]), 200)
        self.assertEqual(self.operations.did, [])

    def test_bodies_that_are_no_json(self) -> None:
        for body in (b"{", b"workers=4", b"\xff\xfe{}", b"[" * 50_000):
            self.assert_wrong("/scale", body, "no JSON")

    def test_bodies_that_are_no_object(self) -> None:
        for body in (b"4", b"[]", b"null", b'"' + b"x" * 500 + b'"'):
            self.assert_wrong("/scale", body, "must be a JSON object")

    def test_names_that_nobody_knows(self) -> None:
        """A typo is an error, not a default."""
        self.assert_wrong("/scale", b'{"wrokers": 4}', '"wrokers"')
        self.assert_wrong("/stop", b'{"quick": true, "fast": 1}', '"fast"')
        self.assert_wrong("/stop", b'{"%b": 1}' % (b"x" * 900), '"xxx')
        for target in ("/reload", "/upgrade", "/slots/1/drain", "/slots/1/restart"):
            self.assert_wrong(target, b'{"now": 1}', '"now"')
        for target in ("/stacks", "/slots/1/stacks"):
            self.assert_wrong(target, b'{"now": 1}', '"now"')

    def test_numbers_of_workers(self) -> None:
        for value in (b"0", b"-1", b"1.5", b'"4"', b"true", b"null", b"[4]"):
            body = b'{"workers": %b}' % value
            self.assert_wrong("/scale", body, "workers", value.decode())
        for body in (b"", b"{}"):
            self.assert_wrong("/scale", body, "workers must be")
        for value in (b"1", b'"yes"', b"null"):
            body = b'{"workers": 4, "force": %b}' % value
            self.assert_wrong("/scale", body, "force must be true or false")

    def test_policies(self) -> None:
        for value in (b'"Shared"', b'"random"', b'""'):
            body = b'{"policy": %b}' % value
            self.assert_wrong(
                "/dispatch", body, "policy must be one of", value.decode()
            )
        for body in (b"", b"{}", b'{"sticky": "cookie"}'):
            self.assert_wrong("/dispatch", body, "policy must be one of shared, ")
        self.assert_wrong("/dispatch", b'{"polcy": "shared"}', '"polcy"')

    def test_keys(self) -> None:
        for value in (b'"ip"', b'"header:"', b'"cookie:a b"', b'""'):
            body = b'{"policy": "sticky", "sticky": %b}' % value
            self.assert_wrong("/dispatch", body, "sticky must be", value.decode())

    def test_what_is_no_text(self) -> None:
        for name in ("policy", "sticky", "listener"):
            for value in ("5", "null", '["shared"]', "true"):
                body = {"policy": '"sticky"', name: value}
                pairs = ", ".join(f'"{key}": {what}' for key, what in body.items())
                self.assert_wrong(
                    "/dispatch", f"{{{pairs}}}".encode(), f"{name} must be text", value
                )

    def test_quick(self) -> None:
        for value in (b"1", b'"yes"', b"null"):
            body = b'{"quick": %b}' % value
            self.assert_wrong("/stop", body, "quick", value.decode())

    def test_slots(self) -> None:
        for slot in ("x", "-1", "1.5", "1234567890", "%C3%A4"):
            for what in ("restart", "drain", "stacks"):
                self.assert_wrong(f"/slots/{slot}/{what}", b"", "slot", "number")

    def test_unknown_paths(self) -> None:
        for path in ("/", "/stats", "/slots/1", "/slots/1/stop", "/reload/x"):
            answer = self.ask("POST", path)
            self.assertEqual(answer, (404, {"error": f"there is no {path}"}))

    def test_wrong_methods(self) -> None:
        """An operation is never begun by looking at it."""
        for method, path, right in (
            ("GET", "/reload", "POST"),
            ("GET", "/slots/1/stacks", "POST"),
            ("DELETE", "/status", "GET, HEAD"),
        ):
            reply = self.reply(self.begin(method, path), method)
            self.assertEqual(reply.status, 405)
            [allow] = reply.values(b"allow")
            self.assertEqual(", ".join(sorted(allow.decode().split(", "))), right)
            document = json.loads(reply.body)
            words = f"{path} takes {right}, not {method}"
            self.assertEqual(document, {"error": words})
        self.assertEqual(self.operations.did, [])

    def test_redirect(self) -> None:
        """Slashes too many are answered with the right path, and do nothing."""
        reply = self.reply(self.begin("POST", "/slots//1/drain"), "POST")
        self.assertEqual(reply.status, 308)
        [location] = reply.values(b"location")
        self.assertTrue(location.endswith(b"/slots/1/drain"), location)
        self.assertIn("error", json.loads(reply.body))
        self.assertEqual(self.operations.did, [])
