"""How much longer a run takes on Step Functions than its critical path, where nodes take their time.

On a local stack of its own. The graphs are random and not series-parallel; each node asks a server on loopback that
answers after 0.3 to 0.9 seconds. The critical path is told twice: of those seconds, and of what the nodes took by their
records, calls and all, which leaves to the ratio what passes between nodes. Beside it stands what the same graph would
take level by level, each level waiting for the whole of the one before: simulated, with the seconds asked for and
nothing else, so to the barriers' advantage.

Transitions of each run are counted twice: from its history, and as the run itself says what it has come to. If those
differ, something is not counted as it happens, which breaks the measurement. Of what is within branches the emulator's
histories tell Tasks and nothing else, so Parallel states, each of which is entered once, are counted on the plan.
"""

from __future__ import annotations

import itertools
import random
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench import graphs
from bench.report import Cell, Figures, Progress
from bench.simulation import earliest_ends, with_barriers
from bench.stack import Machines, local_stack
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Gate, Parallel, walk
from chalicelib.graph.structure import Successors
from chalicelib.nodes.registry import CATALOG
from tests.runs import parsed

GOAL = 1.10  # of makespan over critical path, in the median over the graphs
COLUMNS = (
    "graph",
    "nodes",
    "gates",
    "critical path, s",
    "makespan, s",
    "over critical path",
    "over that of recorded times",
    "level barriers",
    "transitions / node",
)
_GRAPHS = 8
_TRIES = 3  # of each
_SIZES = (12, 16)
_ROOTS = 4  # nodes without predecessors
_SECONDS = (0.3, 0.9)
_DEADLINE = 60  # seconds for one run


@dataclass(frozen=True)
class _Timed:
    """A graph and how long its nodes take."""

    name: str
    shape: graphs.Shape
    edges: Successors
    seconds: dict[str, float]
    gates: int
    parallels: int

    def critical_path(self, seconds: Mapping[str, float]) -> float:
        return max(earliest_ends(list(seconds), self.edges, seconds).values())

    @property
    def with_barriers(self) -> float:
        return with_barriers(list(self.seconds), self.edges, self.seconds)


def measure(progress: Progress) -> Sequence[Figures]:
    """One table. Times break nothing; the title tells the goal."""
    rows: list[list[Cell]] = []
    broken: list[str] = []
    with _slow_server() as url, local_stack(progress) as stack:
        machines = Machines(stack)
        for graph in itertools.islice(_graphs(url), _GRAPHS):
            progress(f"{graph.name} of {_GRAPHS}")
            rows.append(_measured(machines, graph, broken))
    medians = [statistics.median(float(str(row[column])) for row in rows) for column in (-4, -3, -2, -1)]
    rows.append(["median", *[None] * (len(COLUMNS) - 5), *medians])
    title = f"Makespan of nodes of {_SECONDS[0]} to {_SECONDS[1]} s on the emulator, medians of {_TRIES}; goal {GOAL}"
    return [Figures(title, COLUMNS, rows, broken)]


def _measured(machines: Machines, graph: _Timed, broken: list[str]) -> list[Cell]:
    start = machines.of_workflow(graph.shape)
    machines.seconds(start(), _DEADLINE)  # starts the workers
    took, recorded, transitions = [], [], []
    for _ in range(_TRIES):
        execution = start()
        took.append(machines.seconds(execution, _DEADLINE))
        recorded.append(took[-1] / graph.critical_path(machines.nodes_took(execution)))
        transitions.append(1 + graph.parallels + machines.tasks(execution))
        told = machines.told_transitions(execution)
        if told != transitions[-1]:
            broken.append(f"{graph.name}: {transitions[-1]} transitions, and {told} were told")
    makespan, best = statistics.median(took), graph.critical_path(graph.seconds)
    ratios = makespan / best, statistics.median(recorded), graph.with_barriers / best
    per_node = statistics.median(transitions) / len(graph.seconds)
    return [graph.name, len(graph.seconds), graph.gates, best, makespan, *ratios, per_node]


def _graphs(url: str) -> Iterator[_Timed]:
    """Random graphs with a late join at least; seeds from 0 on."""
    for seed in itertools.count():
        chance = random.Random(seed)
        size = chance.randint(*_SIZES)
        edges = [
            (source, target)
            for target in range(_ROOTS, size)
            for source in sorted(chance.sample(range(target), chance.choice([1, 2, 2])))
        ]
        shape = graphs.shape(size, edges)
        names = [node["id"] for node in shape["nodes"]]
        seconds = {name: round(chance.uniform(*_SECONDS), 3) for name in names}
        for node in shape["nodes"]:
            node |= {"nodeId": "http-request", "config": {"method": "GET", "url": f"{url}/{seconds[node['id']]}"}}
        regions = list(walk(compile_plan(parsed(shape), CATALOG).root))
        gates = sum(isinstance(region, Gate) for region in regions)
        parallels = sum(isinstance(region, Parallel) for region in regions)
        if gates:
            after: dict[str, list[str]] = {name: [] for name in names}
            for source, target in edges:
                after[names[source]].append(names[target])
            yield _Timed(f"seed {seed}", shape, after, seconds, gates, parallels)


@contextmanager
def _slow_server() -> Iterator[str]:
    """The URL of a server that answers ``/0.5`` after half a second."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(float(self.path[1:]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
