"""The same under every way to distribute connections."""


class WhereTheMasterAccepts:
    """The same for each policy under which the master accepts; a mixin."""

    def check(self, *flags: str) -> None:
        """Do what is to be done, with these flags."""
        raise NotImplementedError

    def test_round_robin(self) -> None:
        self.check("--dispatch", "round-robin")

    def test_least_connections(self) -> None:
        self.check("--dispatch", "least-connections")

    def test_sticky_by_cookie(self) -> None:
        self.check("--dispatch", "sticky", "--sticky", "cookie")


class EachPolicy(WhereTheMasterAccepts):
    """The same for each policy; a mixin."""

    def test_shared(self) -> None:
        self.check("--dispatch", "shared")

    def test_reuseport(self) -> None:
        self.check("--dispatch", "reuseport")

    def test_sticky_by_client_ip(self) -> None:
        self.check("--dispatch", "sticky", "--sticky", "client-ip")
