"""What WSGI applications write to ``wsgi.errors``."""

import io
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import Flask
from twisted.internet.task import Clock
from twisted.logger import LogLevel, eventAsText, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.log_pipe.lines import LONGEST_LINE
from clusterapp.http.application.current_request import request_under_way
from clusterapp.http.site import ClusterSite
from clusterapp.web.wsgi.wsgi_errors import ErrorStream
from clusterapp.web.wsgi.wsgi_resource import WSGIRoot
from tests.unit.fakes import Log
from tests.unit.http.clients import Client
from tests.unit.web.wsgi.test_wsgi_response import Threads

if TYPE_CHECKING:
    from clusterapp.channel.log_pipe.log_events import RequestFacts

Told = list[tuple[LogLevel, str, str]]


class ErrorsCase(SynchronousTestCase):
    """An application that is asked once."""

    def setUp(self) -> None:
        self.log = Log(self)

    def ask(self, application: Callable[..., Any]) -> None:
        clock = Clock()
        threads: Any = Threads()
        resource: Any = WSGIRoot(threads, application)
        client = Client(ClusterSite(clock, resource), clock)
        self.addCleanup(client.goes)
        client.send(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")

    def told(self) -> Told:
        return [
            (event["log_level"], event["log_namespace"], formatEvent(event))
            for event in self.log.events
        ]


class LoggingTests(ErrorsCase):
    """Records of `logging`."""

    def test_flask(self) -> None:
        """Its logger has a handler of its own, which writes to the stream."""
        self.patch(logging.getLogger(), "handlers", [])  # pytest has some
        app = Flask("shop")
        logger = logging.getLogger("shop")
        self.addCleanup(logger.handlers.clear)

        @app.route("/a")
        def view() -> str:
            app.logger.warning("few {left}")
            app.logger.error("none left")
            return ""

        self.ask(app)
        (warn, name, text), (error, *_) = self.told()
        self.assertEqual((warn, name, error), (LogLevel.warn, "shop", LogLevel.error))
        self.assertRegex(text, r"^\[.*\] WARNING in .*: few \{left\}$")

    def test_plain_handler(self) -> None:
        """Without a format of its own, the traceback is the event's."""
        errors: Any = ErrorStream()
        logger = logging.getLogger("shop.plain")
        self.addCleanup(logger.handlers.clear)
        logger.addHandler(logging.StreamHandler(errors))
        logger.warning("few", exc_info=ValueError("no"))
        self.assertEqual(self.told(), [(LogLevel.warn, "shop.plain", "few")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_other_streams(self) -> None:
        """A record that is written elsewhere meanwhile is none of this stream's."""
        errors = ErrorStream()

        class Tee(io.StringIO):
            def write(self, text: str) -> int:
                return errors.write(text)

        logger = logging.getLogger("shop.other")
        self.addCleanup(logger.handlers.clear)
        logger.addHandler(logging.StreamHandler(Tee()))
        logger.warning("few")
        self.assertEqual(self.told(), [(LogLevel.error, "wsgi.errors", "few")])


class TextTests(ErrorsCase):
    """All other text."""

    def test_prints(self) -> None:
        """A line is one event, however it was written; so is a text of several."""

        def application(environ: dict[str, Any], start: Any) -> list[bytes]:
            errors = environ["wsgi.errors"]
            print("no", "{stock}", file=errors)
            print(file=errors)
            errors.writelines(["a\n", "b\n"])
            errors.write("the ")
            errors.flush()
            errors.write("end")
            start("200 OK", [])
            return []

        self.ask(application)
        for event in self.log.events:
            self.assertNotIn("Unable to format", eventAsText(event))
        self.assertEqual(
            self.told(),
            [
                (LogLevel.error, "wsgi.errors", text)
                for text in ("no {stock}", "a\nb", "the end")
            ],
        )

    def test_no_line_without_end(self) -> None:
        """It fills no memory."""
        errors = ErrorStream()
        for _ in range(3):
            errors.write("x" * LONGEST_LINE)
        self.assertEqual(len(self.told()), 1)
        self.assertEqual(len(errors._rest), LONGEST_LINE)

    def test_no_text(self) -> None:
        """PEP 3333 has native strings only."""
        wrong: Any = b"bytes"
        self.assertRaises(TypeError, ErrorStream().write, wrong)

    def test_request(self) -> None:
        """What is logged in the application's thread is about its request."""
        found: list[RequestFacts | None] = []

        def application(_: object, start: Any) -> list[bytes]:
            found.append(request_under_way())
            start("200 OK", [])
            return []

        self.ask(application)
        self.assertEqual([facts and facts.path for facts in found], ["/a"])
