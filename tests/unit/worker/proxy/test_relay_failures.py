"""Requests that one worker passes to another, when one of the two is no more."""

from twisted.logger import capturedLogs

from clusterapp.channel.log_pipe.log_events import RequestFacts
from tests.unit.http.native_sites import Client, on_each_loop
from tests.unit.worker.workers import MARK, WorkersCase

SORRY = b" broke off before it answered.\n"


class DyingTests(WorkersCase):
    """The worker that a client belongs to dies."""

    async def dies(self) -> None:
        """Break off all requests in the other worker, as its exit would."""
        await self.there.close(self.loop)

    async def refused(self, client: Client) -> bytes:
        """Assert that the client gets a 502, and that its next request is served."""
        answer = await client.until(SORRY)
        self.assertTrue(answer.startswith(b"HTTP/1.1 502 "), answer)
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")
        return answer

    @on_each_loop
    async def test_before_the_answer(self) -> None:
        """The client is told, and the log names it and what it has asked for."""
        client = await self.marked("/slow?secret")
        await self.relayed()
        with capturedLogs() as told:
            await self.dies()
            answer = await self.refused(client)
        self.assertTrue(answer.endswith(b"\r\n\r\nWorker 1" + SORRY), answer)
        [event] = told
        self.assertEqual(
            (event["upstream"], event["request"]),
            (
                "worker 1",
                RequestFacts(method="GET", path="/slow", client="127.0.0.1"),
            ),
        )
        self.assertEqual(self.here.recorded[0].status, 502)

    @on_each_loop
    async def test_within_the_body(self) -> None:
        """What the client still sends is read and thrown away."""
        client = await self.asking(
            b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n" + MARK + b"\r\n"
        )
        await client.send(b"abc")
        await self.so(lambda: self.there.site.active)
        with capturedLogs():
            await self.dies()
            answer = await client.until(SORRY)
        self.assertTrue(answer.startswith(b"HTTP/1.1 502 "), answer)
        await client.send(b"def")
        await client.get("/hi")
        await client.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_within_the_answer(self) -> None:
        """The client sees that it is not whole."""
        client = await self.marked()
        (await self.relayed()).write(b"begun")
        await client.until(b"5\r\nbegun\r\n")
        with capturedLogs():
            await self.dies()
            self.assertEqual(await client.rest(), b"")

    @on_each_loop
    async def test_while_nobody_is_there(self) -> None:
        """A request waits for the slot's next worker."""
        await self.dies()
        client = await self.marked("/hi")
        await self.later(100)
        self.assertEqual(client.received, b"")
        await self.replaced()
        await client.until(b"\r\n\r\nhi")

    @on_each_loop
    async def test_no_socket(self) -> None:
        """A slot that is no more: the client is told at once to try again."""
        self.here.believe(5)
        with capturedLogs() as told:
            client = await self.marked()
            answer = await client.until(b"\r\n\r\nWorker 5 is not ready.")
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b"\r\nRetry-After: 1\r\n", answer)
        self.assertEqual([event["upstream"] for event in told], ["worker 5"])

    @on_each_loop
    async def test_no_http(self) -> None:
        """What is no answer is not passed on."""
        self.here.believe(6)
        listening = self.private(6)
        listening.setblocking(False)
        client = await self.marked()
        far, _ = await self.loop.sock_accept(listening)
        with capturedLogs(), far, listening:
            far.setblocking(False)
            await self.loop.sock_recv(far, 65536)
            await self.loop.sock_sendall(far, b"hello\r\n\r\n")
            await self.refused(client)


class LeavingTests(WorkersCase):
    """Clients that leave, and a worker that ends here."""

    @on_each_loop
    async def test_client_leaves(self) -> None:
        """The application there hears of it."""
        client = await self.marked()
        await self.relayed()
        client.goes()
        await self.so(lambda: self.there.scripted.ends)
        self.assertEqual(self.there.scripted.ends, ["ConnectionDone"])

    @on_each_loop
    async def test_client_resets(self) -> None:
        client = await self.marked()
        (await self.relayed()).write(b"begun")
        await client.until(b"begun\r\n")
        client.resets()
        await self.so(lambda: self.there.scripted.ends)

    @on_each_loop
    async def test_close(self) -> None:
        """A relay that closes breaks off what is under way, without a word."""
        waiting = await self.marked()
        begun = await self.marked()
        (await self.relayed(1, count=2)).write(b"begun")
        await begun.until(b"begun\r\n")
        with capturedLogs() as told:
            self.here.relay.close()
            with self.assertRaises(ConnectionResetError):
                await waiting.rest()
            self.assertEqual(await begun.rest(), b"")
        await self.so(lambda: len(self.there.scripted.ends) == 2)
        self.assertEqual(told, [])
