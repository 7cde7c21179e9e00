"""A deploy that cannot be imported."""

from clusterapp import Application

app = Application()

raise RuntimeError("this deploy cannot be imported")
