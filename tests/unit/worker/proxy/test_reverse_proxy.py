"""The proxy to the core: what is passed on, in both directions."""

import gzip

from tests.unit.http.websockets import HANDSHAKE, frame
from tests.unit.worker.proxy.proxying import (
    EMPTY,
    GET,
    OK,
    Flood,
    ProxyTestCase,
    without_origin,
)


class RequestTests(ProxyTestCase):
    """What the core receives of a request."""

    async def test_target_arrives_byte_for_byte(self) -> None:
        """Nothing in a target is decoded, joined or completed."""
        client, core, head = await self.ask(GET)
        core.send(EMPTY)
        await client.until(b"\r\n\r\n")
        for target in (
            b"/a%2Fb",
            b"//a//b",
            b"/a;b=c",
            b"/%zz",
            b"/x?",
            b"/x?a=%20&a=+&",
            b"/./../x",
            b"*",
        ):
            client.send(b"OPTIONS " + target + b" HTTP/1.1\r\nHost: shop\r\n\r\n")
            head = await core.until(b"\r\n\r\n")
            self.assertEqual(
                head.split(b"\r\n")[0], b"OPTIONS " + target + b" HTTP/1.1"
            )
            core.send(EMPTY)
            await client.until(b"\r\n\r\n")

    async def test_no_host(self) -> None:
        """What HTTP/1.0 leaves out, the core is told to be empty."""
        for sent, passed in ((b"", b"Host: "), (b"host: a\r\n", b"host: a")):
            _, _, head = await self.ask(b"GET / HTTP/1.0\r\n%b\r\n" % sent)
            head = without_origin(head)
            self.assertTrue(head.startswith(b"GET / HTTP/1.1\r\n" + passed), head)
            self.assertEqual(head.lower().count(b"\r\nhost:"), 1)

    async def test_absolute_target_names_the_host(self) -> None:
        """The core sees a path, and the host that the target named."""
        client, core, head = await self.ask(
            b"GET http://other/x HTTP/1.1\r\nHost: shop\r\n\r\n"
        )
        head = without_origin(head)
        self.assertTrue(head.startswith(b"GET /x HTTP/1.1\r\nHost: other\r\n"))
        core.send(EMPTY)
        await client.until(b"\r\n\r\n")

    async def test_fields_keep_order_spelling_and_repeats(self) -> None:
        """The core sees the fields as the client wrote them."""
        _, _, head = await self.ask(
            b"GET / HTTP/1.1\r\nX-b: 2\r\nHost: shop:81\r\nCOOKIE: a=1\r\nx-B: 3\r\n"
            b"Accept-Encoding: br\r\nExpect: 100-continue\r\n\r\n"
        )
        self.assertTrue(
            without_origin(head).startswith(
                b"GET / HTTP/1.1\r\nX-b: 2\r\nHost: shop:81\r\nCOOKIE: a=1\r\n"
                b"x-B: 3\r\nAccept-Encoding: br\r\nExpect: 100-continue\r\n"
                b"X-Forwarded-For: "
            ),
            head,
        )

    async def test_hop_by_hop_fields_stay_here(self) -> None:
        """Neither the known ones nor those that `Connection` names are passed on."""
        _, _, head = await self.ask(
            b"GET / HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive, X-Secret\r\n"
            b"Keep-Alive: 5\r\nTE: trailers\r\nProxy-Connection: x\r\nx-secret: 1\r\n"
            b"Connection: X-Forwarded-For\r\nUpgrade: h2c\r\nX-Other: 1\r\n\r\n"
        )
        names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]]
        self.assertEqual(
            names,
            [
                b"clusterapp-from",
                b"host",
                b"x-other",
                b"x-forwarded-for",
                b"x-forwarded-proto",
                b"x-forwarded-host",
                b"forwarded",
            ],
        )

    async def test_client_is_named(self) -> None:
        """The core gets the client's address; forged forwarding fields are dropped."""
        _, _, head = await self.ask(
            b"GET / HTTP/1.1\r\nHost: shop\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
        )
        self.assertIn(b"\r\nX-Forwarded-For: 127.0.0.1\r\n", head)
        self.assertIn(b"\r\nX-Forwarded-Proto: http\r\n", head)
        self.assertIn(b"\r\nX-Forwarded-Host: shop\r\n", head)
        self.assertNotIn(b"6.6.6.6", head)

    async def test_body_of_known_length(self) -> None:
        """A body keeps its length, and the connection carries the next request."""
        client, core, head = await self.ask(
            b"PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 5\r\n\r\nab"
        )
        self.assertIn(b"\r\nContent-Length: 5\r\n", head)
        self.assertNotIn(b"chunked", head)
        self.assertEqual(await core.exactly(2), b"ab")
        client.send(b"cde" + GET)
        self.assertEqual(await core.exactly(3), b"cde")
        core.send(OK)
        await client.until(b"hi")
        await core.until(b"\r\n\r\n")

    async def test_chunked_body_has_its_trailers(self) -> None:
        """Chunks stay chunks, and the fields behind them arrive."""
        _, core, head = await self.ask(
            b"PUT / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: Chunked\r\n"
            b"Trailer: X-Sum\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 9\r\nTE: x\r\n\r\n"
        )
        self.assertEqual(head.count(b"\r\nTransfer-Encoding: chunked\r\n"), 1)
        self.assertNotIn(b"Content-Length", head)
        self.assertIn(b"\r\nTrailer: X-Sum\r\n", head)
        body = await core.until(b"\r\n\r\n")
        self.assertEqual(body, b"3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n")

    async def test_empty_body_says_so(self) -> None:
        """A POST without content keeps its length of nothing."""
        _, _, head = await self.ask(
            b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertEqual(head.count(b"Content-Length: 0"), 1)
        self.assertNotIn(b"chunked", head)


class ResponseTests(ProxyTestCase):
    """What the client receives of a response."""

    async def answer(self, response: bytes, request: bytes = GET) -> bytes:
        """Send a response of the core; return what the client received."""
        closing = request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
        client, core, _ = await self.ask(closing)
        core.send(response)
        got = await client.rest()
        self.assert_closed(client)
        self.assertIn(b"\r\nConnection: close\r\n", got)
        return got.replace(b"Connection: close\r\n", b"")

    async def test_head_is_passed_on_as_it_is(self) -> None:
        """Status, reason, order, spelling and repeats are the core's."""
        response = (
            b"HTTP/1.1 418 Short And Stout\r\nb: 1\r\nSet-Cookie: a=1; Path=/\r\n"
            b"A: 2\r\nset-cookie: b=2\r\nDate: never\r\nServer: core\r\n"
            b"Content-Length: 2\r\n\r\nhi"
        )
        self.assertEqual(await self.answer(response), response)

    async def test_hop_by_hop_fields_stay_here(self) -> None:
        """What the core says to the worker alone is not passed on."""
        got = await self.answer(
            b"HTTP/1.1 200 OK\r\nConnection: close, X-Own\r\nKeep-Alive: 5\r\n"
            b"X-Own: 1\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\nhi"
        )
        self.assertEqual(
            got, b"HTTP/1.1 200 OK\r\nX-Other: 1\r\nContent-Length: 2\r\n\r\nhi"
        )

    async def test_encoded_content_is_not_touched(self) -> None:
        """A compressed body arrives compressed, under its own name."""
        packed = gzip.compress(b"hello" * 100)
        response = (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b"
            % (len(packed), packed)
        )
        self.assertEqual(await self.answer(response), response)

    async def test_redirect_is_passed_on(self) -> None:
        """The client follows redirects, not the worker."""
        response = b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n"
        self.assertEqual(await self.answer(response), response)
        self.assertEqual([line.buffer for line in self.core.lines], [b""])

    async def test_chunked_body_has_its_trailers(self) -> None:
        """A body of unknown length is chunked, with the core's trailers."""
        got = await self.answer(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n"
        )
        self.assertTrue(got.endswith(b"\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n"), got)
        self.assertIn(b"\r\nTrailer: X-Sum\r\n", got)
        self.assertEqual(got.count(b"Transfer-Encoding"), 1)

    async def test_old_client_gets_no_chunks(self) -> None:
        """To HTTP/1.0 the end of the connection ends the body."""
        client, core, _ = await self.ask(b"GET / HTTP/1.0\r\nHost: shop\r\n\r\n")
        core.send(
            b"HTTP/1.1 103 Early Hints\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n"
        )
        self.assertEqual(
            await client.rest(), b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
        )

    async def test_responses_without_a_body(self) -> None:
        """HEAD, 204 and 304 end with their head, whatever length it names."""
        sized = b"HTTP/1.1 %b\r\nContent-Length: 7\r\nETag: x\r\n\r\n"
        head = b"HEAD / HTTP/1.1\r\nHost: shop\r\n\r\n"
        for request, response in (
            (head, sized % b"200 OK"),
            (head, b"HTTP/1.1 200 OK\r\nETag: x\r\n\r\n"),
            (GET, sized % b"304 Not Modified"),
            (GET, EMPTY),
        ):
            client, core, _ = await self.ask(request)
            core.send(response)
            self.assertEqual(await client.until(b"\r\n\r\n"), response)
            client.send(GET)
            await core.until(b"\r\n\r\n")
            core.send(OK)
            self.assertTrue((await client.until(b"hi")).startswith(b"HTTP/1.1 200 OK"))
            # The next round shall find no idle connection.
            core.transport.loseConnection()
            await core.rest()

    async def test_interim_responses_are_relayed(self) -> None:
        """A 103 comes before the response, field for field."""
        client, core, _ = await self.ask(GET)
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n"
        core.send(hints)
        self.assertEqual(await client.until(b"\r\n\r\n"), hints)
        core.send(OK)
        self.assertEqual(await client.until(b"hi"), OK)

    async def test_cookies_stay_with_their_client(self) -> None:
        """What the core sets for one client is not sent for another."""
        client, core, _ = await self.ask(GET)
        core.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nContent-Length: 2\r\n\r\nhi")
        await client.until(b"hi")
        (await self.client()).send(GET)
        self.assertNotIn(b"ookie", await core.until(b"\r\n\r\n"))


class StreamTests(ProxyTestCase):
    """Bodies flow while they come, both ways at once."""

    async def test_continue_is_the_cores(self) -> None:
        """The worker sends no 100 of its own; the core's comes before the body."""
        client, core, _ = await self.ask(
            b"PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        self.assertEqual(client.buffer, b"")
        core.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.assertEqual(
            await client.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n"
        )
        client.send(b"abc")
        self.assertEqual(await core.exactly(3), b"abc")
        core.send(OK)
        self.assertEqual(await client.until(b"hi"), OK)

    async def test_both_directions_at_once(self) -> None:
        """An echo answers each piece before it has the next."""
        client, core, _ = await self.ask(
            b"PUT / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        core.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await client.until(b"\r\n\r\n")
        for piece in (b"1\r\na\r\n", b"1\r\nb\r\n", b"0\r\n\r\n"):
            client.send(piece)
            self.assertEqual(await core.exactly(len(piece)), piece)
            core.send(piece)
            self.assertEqual(await client.exactly(len(piece)), piece)

    async def test_events_come_one_by_one(self) -> None:
        """A stream of events is not gathered up."""
        client, core, _ = await self.ask(GET)
        core.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await client.until(b"\r\n\r\n")
        for event in (b"data: 1\n\n", b"data: 2\n\n"):
            core.send(event)
            self.assertEqual(
                await client.exactly(len(event) + 5), b"9\r\n" + event + b"\r\n"
            )
        core.transport.loseConnection()
        self.assertEqual(await client.exactly(5), b"0\r\n\r\n")

    async def test_slow_client_holds_the_core_back(self) -> None:
        """While the client does not read, the worker does not read on."""
        client, core, _ = await self.ask(GET)
        client.transport.pauseProducing()
        core.send(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
        flood = Flood(core, 64)
        await flood.stuck()
        self.assertLess(flood.sent, 60)
        client.transport.resumeProducing()
        await client.until(b"\r\n\r\n")
        await client.exactly(67108864)
        self.assertEqual(flood.sent, 64)

    async def test_slow_core_holds_the_client_back(self) -> None:
        """While the core does not read, the worker does not read on."""
        client, core, _ = await self.ask(
            b"PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 67108864\r\n\r\n"
        )
        core.transport.pauseProducing()
        flood = Flood(client, 64)
        await flood.stuck()
        self.assertLess(flood.sent, 60)
        core.transport.resumeProducing()
        await core.exactly(67108864)
        core.send(OK)
        await client.until(b"hi")

    async def test_early_answer_to_a_long_upload(self) -> None:
        """A refusal arrives whole though the upload has not ended."""
        client, core, _ = await self.ask(
            b"PUT / HTTP/1.1\r\nHost: shop\r\nContent-Length: 67108864\r\n\r\n"
        )
        Flood(client, 64)
        await core.exactly(100000)
        refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
        core.send(refusal)
        self.assertEqual(await client.until(b"no"), refusal)
        client.transport.abortConnection()

    async def test_websocket_passes_both_ways(self) -> None:
        """After a 101 the bytes are the application's; one end closes both."""
        client, core, head = await self.ask(
            b"GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: keep-alive\r\n"
            + HANDSHAKE
            + b"\r\n"
        )
        self.assertIn(b"\r\nUpgrade: websocket\r\n", head)
        self.assertIn(b"\r\nConnection: Upgrade\r\n", head)
        core.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\nfirst"
        )
        answer = await client.until(b"first")
        self.assertIn(b"\r\nUpgrade: websocket\r\n", answer)
        self.assertIn(b"\r\nSec-WebSocket-Accept: a\r\n", answer)
        ping = frame(b"\x00ping")
        client.send(ping)
        self.assertEqual(await core.exactly(len(ping)), ping)
        core.send(b"\x00pong")
        self.assertEqual(await client.exactly(5), b"\x00pong")
        client.transport.loseConnection()
        await core.rest()

    async def test_end_of_the_core_ends_a_websocket(self) -> None:
        """What the core sent last still arrives."""
        client, core, _ = await self.ask(
            b"GET /ws HTTP/1.1\r\nHost: shop\r\n" + HANDSHAKE + b"\r\n"
        )
        core.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\n\r\nbye"
        )
        core.transport.loseConnection()
        self.assertTrue((await client.rest()).endswith(b"\r\n\r\nbye"))
