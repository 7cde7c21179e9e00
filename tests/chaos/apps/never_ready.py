"""A deploy whose workers never become ready."""

from twisted.internet.defer import Deferred

from clusterapp import Application

app = Application()


@app.on_start
async def wait() -> None:
    """Wait for what never comes."""
    await Deferred()
