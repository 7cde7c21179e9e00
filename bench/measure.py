"""The rounds: for each work, each server in turn, again and again."""

import http.client
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from time import monotonic

from bench import idle, processes, wrk
from bench.errors import ServerError
from bench.figures import Figure, Sample
from bench.install import APPS
from bench.peers import Ground, Peer
from bench.servers import HOST, Server, free_port
from bench.works import EXAMPLE, Work, fill

_DEADLINE = 60.0
_WARM_UP_SECONDS = 1


@dataclass(frozen=True, kw_only=True)
class Plan:
    """
    How to measure.

    :param rounds: how often each server has its turn.
    :param load: what a turn is.
    :param cpus: the only CPUs that the servers may use.
    :param homes: where each peer is installed, by name.
    :param static: the folder of the static files.
    :param scratch: a folder for what servers write.
    :param say: is told what goes on.
    """

    rounds: int
    load: wrk.Load
    cpus: Collection[int]
    homes: Mapping[str, Path]
    static: Path
    scratch: Path
    say: Callable[[str], None]


@dataclass(frozen=True)
class _Entrant:
    """A server that takes part, and what has been found of it."""

    peer: Peer
    ground: Ground
    server: Server
    figure: Figure


def measure(work: Work, peers: Sequence[Peer], plan: Plan) -> dict[str, Figure]:
    """Measure one work with the given servers; return their figures by name."""
    figures = {peer.name: Figure() for peer in peers}
    course = _Course(work, plan, figures)
    if work.idle:
        course.hold_connections(peers)
    else:
        course.ask_in_turn(peers)
    return figures


@contextmanager
def started(peer: Peer, work: Work, plan: Plan) -> Iterator[tuple[Server, Ground]]:
    """Start a server for a work, and end it."""
    folder = Path(tempfile.mkdtemp(prefix=f"{peer.name}-", dir=plan.scratch))
    ground = Ground(
        port=free_port(), core_port=free_port(), folder=folder, static=plan.static
    )
    server = Server(
        peer.command(plan.homes[peer.name], work, ground),
        cwd=APPS,
        env={
            "BENCH_STATIC": str(plan.static),
            "BENCH_RULES": str(work.rules),
            "NODE_ENV": "production",
        },
        cpus=plan.cpus,
        log=folder / "output",
    )
    with closing(server):
        yield server, ground


def wait_until_ready(peer: Peer, server: Server, port: int) -> None:
    """
    Wait until a server serves with all that it has.

    :raise ServerError: it does not come to that.
    """
    server.wait_until_listening(port)
    if peer.ready_path is not None:
        server.wait_until_ready(port, peer.ready_path)


@contextmanager
def blaming(server: Server) -> Iterator[None]:
    """
    Raise errors of connections as faults of the server.

    :raise ServerError: something does.
    """
    try:
        yield
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise server.fault(repr(error)) from error


class _Course:
    """One work, and the figures that are found."""

    def __init__(self, work: Work, plan: Plan, figures: Mapping[str, Figure]) -> None:
        self._work = work
        self._plan = plan
        self._figures = figures
        self._reference = work.expected

    def ask_in_turn(self, peers: Sequence[Peer]) -> None:
        """Start all servers, and measure them in turn in every round."""
        with ExitStack() as stack:
            entrants = [stack.enter_context(self._started(peer)) for peer in peers]
            for step in (
                self._compare,
                self._warm_up,
                *[self._take_turn] * self._plan.rounds,
            ):
                for entrant in entrants:
                    self._attempt(step, entrant)

    def hold_connections(self, peers: Sequence[Peer]) -> None:
        """Start each server anew for each round, since memory is not given back."""
        idle.allow_descriptors(self._work.idle)
        for _ in range(self._plan.rounds):
            for peer in peers:
                with self._started(peer) as entrant:
                    self._attempt(self._compare, entrant)
                    self._attempt(self._hold, entrant)

    @contextmanager
    def _started(self, peer: Peer) -> Iterator[_Entrant]:
        with started(peer, self._work, self._plan) as (server, ground):
            yield _Entrant(peer, ground, server, self._figures[peer.name])

    def _attempt(self, step: Callable[[_Entrant], None], entrant: _Entrant) -> None:
        """Do a step, unless its server has failed before; the others go on."""
        if entrant.figure.fault is not None:
            return
        try:
            with blaming(entrant.server):
                step(entrant)
        except ServerError as error:
            self._drop(entrant, error)

    def _drop(self, entrant: _Entrant, error: ServerError) -> None:
        entrant.figure.fault = error.reason
        self._say(entrant, f"{error.reason}\n{error.output}".rstrip())

    def _compare(self, entrant: _Entrant) -> None:
        """See that a server answers, and what all the others do."""
        wait_until_ready(entrant.peer, entrant.server, entrant.ground.port)
        status, body = _ask(entrant.ground.port, self._work)
        if status != HTTPStatus.OK:
            raise entrant.server.fault(f"answers {status}: {body[:200]!r}")
        meaning = self._work.meaning(body)
        if self._reference is None:
            self._reference = meaning
        if meaning != self._reference:
            raise entrant.server.fault(f"answers something else: {body[:200]!r}")

    def _warm_up(self, entrant: _Entrant) -> None:
        self._run_wrk(entrant, replace(self._plan.load, seconds=_WARM_UP_SECONDS))

    def _take_turn(self, entrant: _Entrant) -> None:
        pid, began = entrant.server.pid, monotonic()
        before = processes.cpu_seconds(pid)
        run = self._run_wrk(entrant, self._plan.load)
        used = processes.cpu_seconds(pid) - before
        entrant.figure.samples.append(Sample(run.rate, used / (monotonic() - began)))
        self._say(entrant, f"{run.rate:,.0f} {self._work.unit}")

    def _run_wrk(self, entrant: _Entrant, load: wrk.Load) -> wrk.Run:
        ground = entrant.ground
        run = wrk.run(self._work, ground.port, load, ground.folder)
        entrant.server.check()
        if run.faults:
            raise entrant.server.fault(", ".join(run.faults))
        return run

    def _hold(self, entrant: _Entrant) -> None:
        found = idle.memory(entrant.server, entrant.ground.port, self._work)
        entrant.figure.samples.append(Sample(found))
        self._say(entrant, f"{found:.1f} {self._work.unit}")

    def _say(self, entrant: _Entrant, what: str) -> None:
        self._plan.say(f"{self._work.title}: {entrant.peer.name}: {what}")


def _ask(port: int, work: Work) -> tuple[int, bytes]:
    """Send the example of what wrk is going to send, and return status and body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_DEADLINE)
    headers = {"Content-Type": work.content_type} if work.content_type else {}
    body = fill(work.body, EXAMPLE) or None
    with closing(connection):
        method = "GET" if body is None else "POST"
        connection.request(method, fill(work.target, EXAMPLE), body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
