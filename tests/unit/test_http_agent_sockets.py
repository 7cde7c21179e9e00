"""The agent on real sockets, where the kernel has a say."""

import shutil
import tempfile
from pathlib import Path

import trustme
from OpenSSL.SSL import Context
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import (
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import ResponseDone

from clusterapp.errors import CoreBrokenError, CoreUnreachableError
from clusterapp.http.agent import CoreAgent
from clusterapp.http.messages import RequestHead
from clusterapp.http.response import WireResponse
from tests.unit.core_wire import CHUNKED, GET, OK, POST, Body, Collector

reactor: object = _reactor
