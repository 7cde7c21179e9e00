"""A child's log that has begun, without the process."""

import io
import logging
import os
import sys
import threading
import warnings

from twisted.internet.task import Clock
from twisted.logger import LogBeginner, Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from clusterapp.channel.log_pipe.log_events import ChildEvent, RequestFacts
from clusterapp.channel.log_pipe.log_records import RecordReader
from clusterapp.logs import captured_logs as sources
from clusterapp.logs import child
from clusterapp.logs.child import ChildLog
from clusterapp.logs.event_pipe import EventPipe

FACTS = RequestFacts(method="GET", path="/a")


class ChildLogCase(SynchronousTestCase):
    """A child's log that has begun, without the process."""

    def setUp(self) -> None:
        self.publisher = LogPublisher()
        beginner = LogBeginner(
            self.publisher, io.StringIO(), sys, __import__("warnings")
        )
        self.patch(child, "globalLogBeginner", beginner)
        for name in ("_threads", "_warnings", "_unraisable", "_uncaught"):
            logger = Logger(getattr(sources, name).namespace, observer=self.publisher)
            self.patch(sources, name, logger)
        self.patch(sources, "Logger", self.log)
        # What it changes in the process is put back.
        for owner, name in (
            (sys, "stdout"),
            (sys, "stderr"),
            (sys, "excepthook"),
            (sys, "unraisablehook"),
            (threading, "excepthook"),
            (warnings, "showwarning"),
            (logging, "lastResort"),
        ):
            self.patch(owner, name, getattr(owner, name))
        self.raw = io.BytesIO()
        for name in ("stdout", "stderr"):
            stream = io.TextIOWrapper(self.raw, "ascii", write_through=False)
            self.addCleanup(stream.detach)
            self.patch(sys, name, stream)
        self.streams = sys.stdout, sys.stderr
        reading, self.writing = os.pipe()
        os.set_blocking(reading, False)
        self.reading = reading
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, self.writing)
        self.clock = Clock()
        self.facts: RequestFacts | None = None
        self.pipe = EventPipe(self.writing, child._lost_notice)
        self.child_log = ChildLog(self.pipe, self.clock.callLater, lambda: self.facts)
        self.child_log.begin()

    def log(self, namespace: str = "shop") -> Logger:
        return Logger(namespace, observer=self.publisher)

    def events(self) -> list[ChildEvent]:
        """Return what the master is sent."""
        try:
            received = os.read(self.reading, 1_000_000)
        except BlockingIOError:
            return []
        return [ChildEvent.from_bytes(each) for each in RecordReader().feed(received)]

    def lines(self) -> list[str]:
        return [f"[{e.namespace}#{e.level}] {e.text}" for e in self.events()]
