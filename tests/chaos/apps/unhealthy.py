"""A deploy that becomes ready, and can answer nothing."""

from twisted.web.iweb import IRequest

from clusterapp import Application

app = Application()


@app.route("/", branch=True)
def root(request: IRequest) -> bytes:
    """Fail."""
    request.setResponseCode(500)
    return b"the database is not there\n"
