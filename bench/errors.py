"""The errors of the bench, whose messages are for its user."""


class BenchError(Exception):
    """The bench cannot go on; the message says why."""


class ServerError(Exception):
    """
    One server cannot be measured, the others can.

    :param reason: what is wrong, in a few words.
    :param output: what the server printed.
    """

    def __init__(self, reason: str, output: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.output = output
