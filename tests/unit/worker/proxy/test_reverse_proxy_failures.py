"""The proxy to the core: when one of the three goes away, or is slow."""

from twisted.logger import LogLevel, capturedLogs

from tests.unit.worker.proxy.proxying import GET, OK, Line, ProxyTestCase

CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
PUT = b"PUT /counter HTTP/1.1\r\nHost: shop\r\nContent-Length: 6\r\n\r\nabc"


async def refusal(client: Line) -> tuple[bytes, bytes]:
    """Wait for an error answer; return its head and its body."""
    head = await client.until(b"\r\n\r\n")
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    return head, await client.exactly(length)


class ClientGoneTests(ProxyTestCase):
    """A client that goes away takes its request to the core along."""

    async def test_before_the_response(self) -> None:
        """The core need not answer a request that nobody waits for."""
        client, core, _ = await self.ask(GET)
        client.transport.loseConnection()
        await core.rest()
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_within_the_response(self) -> None:
        """The core need not go on for nobody; nothing is reported."""
        client, core, _ = await self.ask(GET)
        core.send(CHUNKS)
        await client.until(b"abc\r\n")
        with capturedLogs() as events:
            client.transport.abortConnection()
            await core.rest()
        self.assertEqual([e for e in events if e["log_level"] > LogLevel.info], [])

    async def test_within_its_own_body(self) -> None:
        """An upload that is broken off does not look complete to the core."""
        client, core, _ = await self.ask(PUT)
        await core.until(b"abc")
        client.transport.loseConnection()
        self.assertEqual(await core.rest(), b"")
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_while_the_core_is_starting(self) -> None:
        """Nothing is sent later for a client that did not wait."""
        self.proxy.core_ready(False)
        client = await self.client()
        client.send(GET)
        await self.eventually(self.clock.getDelayedCalls)
        client.transport.loseConnection()
        await self.eventually(lambda: not self.clock.getDelayedCalls())
        self.proxy.core_ready(True)
        await self.assert_served()
        self.assertEqual(len(self.core.lines), 1)

    async def assert_served(self) -> None:
        client, core, _ = await self.ask(GET)
        core.send(OK)
        self.assertEqual(await client.until(b"hi"), OK)


class CoreGoneTests(ProxyTestCase):
    """A core that goes away is never mistaken for one that has finished."""

    async def test_before_the_response(self) -> None:
        """The client gets a 502 that can be read, and the log says why."""
        client, core, _ = await self.ask(b"GET /a?secret HTTP/1.1\r\nHost: h\r\n\r\n")
        with capturedLogs() as events:
            core.transport.loseConnection()
            head, body = await refusal(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"))
        self.assertIn(b"\r\nContent-Type: text/plain; charset=utf-8\r\n", head)
        self.assertEqual(body, b"The core broke off before it answered.\n")
        (reported,) = (e for e in events if e["log_level"] is LogLevel.error)
        self.assertEqual(reported["request"].path, "/a")
        self.assertIn("the connection broke", str(reported["error"]))

    async def test_within_the_request(self) -> None:
        """The rest of the upload is read away, and the connection is kept."""
        client, core, _ = await self.ask(PUT)
        core.transport.abortConnection()
        head, _ = await refusal(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 502 "))
        client.send(b"def" + GET)
        core = await self.core.line()
        self.assertTrue((await core.until(b"\r\n\r\n")).startswith(b"GET /counter "))

    async def test_answer_that_is_not_http(self) -> None:
        """What cannot be read is a 502 too."""
        client, core, _ = await self.ask(GET)
        core.send(b"220 ready\r\n")
        head, _ = await refusal(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 502 "))

    async def test_switch_that_nobody_asked_for(self) -> None:
        """A 101 without a request for it never reaches the client."""
        client, core, _ = await self.ask(GET)
        core.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
            b"Connection: Upgrade\r\n\r\n"
        )
        head, _ = await refusal(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 502 "))

    async def test_within_chunks(self) -> None:
        """A chunked response ends without its last chunk."""
        client, core, _ = await self.ask(GET)
        core.send(CHUNKS)
        await client.until(b"abc\r\n")
        core.transport.loseConnection()
        self.assertEqual(await client.rest(), b"")

    async def test_within_a_length(self) -> None:
        """A response of known length ends before it, with what there was."""
        client, core, _ = await self.ask(GET)
        core.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        with capturedLogs() as events:
            core.transport.loseConnection()
            got = await client.rest()
        self.assertTrue(got.endswith(b"\r\n\r\nabc"), got)
        (reported,) = (e for e in events if e["log_level"] is LogLevel.error)
        self.assertIn("its response is incomplete", str(reported["error"]))

    async def test_within_a_response_to_an_old_client(self) -> None:
        """Where the close would end the body, a reset tells that it did not."""
        client, core, _ = await self.ask(b"GET / HTTP/1.0\r\nHost: shop\r\n\r\n")
        core.send(CHUNKS)
        await client.until(b"abc")
        core.transport.loseConnection()
        await client.rest()
        self.assert_broken(client)

    async def test_proxy_that_closes(self) -> None:
        """What is under way is broken off at both ends."""
        client, core, _ = await self.ask(GET)
        core.send(CHUNKS)
        await client.until(b"abc\r\n")
        self.proxy.close()
        await core.rest()
        self.assertEqual(await client.rest(), b"")


class CoreSlowTests(ProxyTestCase):
    """A core that does nothing is not waited for without end."""

    core_timeout = 7.0

    async def test_no_answer(self) -> None:
        """After the timeout there is a 504, and the core's request is cancelled."""
        client, core, _ = await self.ask(GET)
        self.clock.advance(6.9)
        self.assertIsNone(core.ended)
        with capturedLogs() as events:
            self.clock.advance(0.2)
            head, body = await refusal(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 504 Gateway Timeout\r\n"))
        self.assertEqual(body, b"The core did not answer in time.\n")
        await core.rest()
        (reported,) = (e for e in events if e["log_level"] is LogLevel.error)
        self.assertEqual(str(reported["error"]), "no answer within 7 s")

    async def test_upload_that_moves(self) -> None:
        """The time counts from the last piece of the body that was taken."""
        client, core, _ = await self.ask(
            b"PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\n"
        )
        for piece in (b"a", b"b", b"c"):
            self.clock.advance(5)
            client.send(piece)
            await core.until(piece)
        self.clock.advance(5)
        core.send(OK)
        self.assertEqual(await client.until(b"hi"), OK)

    async def test_response_may_take_its_time(self) -> None:
        """Once it has begun, a response has no timeout."""
        client, core, _ = await self.ask(GET)
        core.send(CHUNKS)
        await client.until(b"abc\r\n")
        self.clock.advance(1000)
        core.send(b"0\r\n\r\n")
        self.assertEqual(await client.until(b"0\r\n\r\n"), b"0\r\n\r\n")


class CoreStartingTests(ProxyTestCase):
    """A request waits for a core that is starting, but not for long."""

    core_is_open = False

    async def test_core_that_becomes_ready(self) -> None:
        """The request is sent as soon as the core is there."""
        client = await self.client()
        client.send(PUT)
        await self.eventually(self.clock.getDelayedCalls)
        self.clock.advance(4.9)
        self.open_core()
        core = await self.core.line()
        await core.until(b"abc")
        client.send(b"def")
        await core.until(b"def")
        core.send(OK)
        self.assertEqual(await client.until(b"hi"), OK)

    async def test_core_that_stays_away(self) -> None:
        """After the wait there is a 503 that says when to come again."""
        client = await self.client()
        client.send(PUT)
        await self.eventually(self.clock.getDelayedCalls)
        self.clock.advance(5)
        head, body = await refusal(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"))
        self.assertIn(b"\r\nRetry-After: 1\r\n", head)
        self.assertEqual(body, b"The core is not ready. Please try again.\n")
        # Who has given up is not told any more.
        self.proxy.core_ready(True)
        self.proxy.core_ready(True)

    async def test_core_that_refuses(self) -> None:
        """A connection that cannot be made is tried again, within the same wait."""
        self.proxy.core_ready(True)
        client = await self.client()
        client.send(PUT)
        for _ in range(50):
            await self.eventually(self.retry_is_due)
            self.clock.advance(0.1)
        head, _ = await refusal(client)
        self.assertTrue(head.startswith(b"HTTP/1.1 503 "))
        self.assertIn(b"\r\nRetry-After: 1\r\n", head)

    async def test_core_that_refuses_at_first(self) -> None:
        """The body has not been touched by the attempts in vain."""
        self.proxy.core_ready(True)
        client = await self.client()
        client.send(PUT + b"def")
        await self.eventually(self.retry_is_due)
        self.open_core()
        self.clock.advance(0.1)
        core = await self.core.line()
        await core.until(b"abcdef")
        core.send(OK)
        self.assertEqual(await client.until(b"hi"), OK)

    def retry_is_due(self) -> bool:
        """Whether the next attempt is waited for."""
        now = self.clock.seconds()
        return any(c.getTime() <= now + 0.11 for c in self.clock.getDelayedCalls())
