"""Announce the ``twistd clusterapp`` command."""

from twisted.application.service import ServiceMaker

clusterapp = ServiceMaker(
    "clusterapp",
    "clusterapp.tap",
    "Serve a Klein, WSGI or twisted.web application from a pool of workers.",
    "clusterapp",
)
