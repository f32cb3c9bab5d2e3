"""Layout libraries and our own layout, on the same graphs: crossings, boxes struck by lines, overlaps, area, CPU time.

    uv run --with grandalf==0.8 --with graphlay==0.3.1 --with igraph==1.0.0 --with networkx python -m bench.layouts

A library that is not installed is left out. ``large`` as an argument draws graphs of 10,000 nodes instead, each library
in a process of its own that may take 60 s of CPU. The figures of docs/decisions/0011-layout.md come from here.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

from chalicelib.graph.layout import COLUMN, COLUMN_GAP, NODE_HEIGHT, NODE_WIDTH, ROW, ROW_GAP, arrange
from chalicelib.nodes.registry import CATALOG
from tests.graph import drawings
from tests.graph.drawings import Edge, Point

CPU_S = 60

LARGE: dict[str, Callable[[], list[Edge]]] = {
    "chain of 10,000": lambda: drawings.chain(10_000),
    "workflow of 10,000": lambda: drawings.workflow(10_000, 1),
    "random 10,000/15,000": lambda: drawings.random_dag(10_000, 15_000, 1),
    "layers 100x100": lambda: drawings.layers(100, 100, 0.01, 1),
    "hub over 2,000": lambda: drawings.hub(2_000),
    "hub over 10,000": lambda: drawings.hub(10_000),
}


def own(edges: Sequence[Edge]) -> list[Point]:
    return drawings.corners(arrange(drawings.as_graph(edges), CATALOG))


def grandalf(edges: Sequence[Edge]) -> list[Point]:
    graphs, layouts = import_module("grandalf.graphs"), import_module("grandalf.layouts")
    vertices = [graphs.Vertex(number) for number in range(drawings.vertices(edges))]
    for vertex in vertices:  # it draws downwards, so everything is turned
        vertex.view = SimpleNamespace(w=NODE_HEIGHT, h=NODE_WIDTH, xy=None)
    graph = graphs.Graph(vertices, [graphs.Edge(vertices[a], vertices[b]) for a, b in edges], directed=True)
    boxes: dict[int, Point] = {}
    bottom = 0.0
    for part in graph.C:  # each is drawn by itself
        layout = layouts.SugiyamaLayout(part)
        layout.xspace, layout.yspace = ROW_GAP, COLUMN_GAP
        layout.init_all(optimize=True)
        layout.draw(10)
        heights = [vertex.view.xy[0] for vertex in part.sV]
        boxes |= {vertex.data: (vertex.view.xy[1], vertex.view.xy[0] - min(heights) + bottom) for vertex in part.sV}
        bottom += max(heights) - min(heights) + ROW
    return [boxes[number] for number in range(len(boxes))]


def graphlay(edges: Sequence[Edge], effort: str = "balanced") -> list[Point]:
    size = {"width": NODE_WIDTH, "height": NODE_HEIGHT}
    nodes = [{"key": str(number), "size": size, "shape": "box"} for number in range(drawings.vertices(edges))]
    request = {"nodes": nodes, "edges": [{"source": a, "target": b, "weight": 1.0} for a, b in edges]}
    spacing = {"layer_gap": COLUMN_GAP, "node_gap": ROW_GAP, "dummy_gap": 20}
    options = {"direction": "leftright", "spacing": spacing, "effort": effort, "routing": {"style": "diagonal"}}
    found = import_module("graphlay").layout(request, preset="layered", options=options).nodes
    return [(node["center"]["x"], node["center"]["y"]) for node in found]


def graphlay_fast(edges: Sequence[Edge]) -> list[Point]:
    return graphlay(edges, "fast")


def igraph(edges: Sequence[Edge]) -> list[Point]:
    graph = import_module("igraph").Graph(n=drawings.vertices(edges), edges=edges, directed=True)
    found = graph.layout_sugiyama(hgap=ROW, vgap=COLUMN, maxiter=100).coords
    return [(y, x) for x, y in found[: drawings.vertices(edges)]]


LAYOUTS = (own, grandalf, graphlay, graphlay_fast, igraph)


def main() -> None:
    print(f"{'':15} {'crossings':>10} {'struck':>7} {'overlaps':>9} {'backward':>9} {'Mpx':>6} {'CPU ms':>7}")
    for layout in LAYOUTS:
        found: Counter[str] = Counter()
        each = []
        for edges in drawings.CORPUS.values():
            began = time.process_time()
            try:
                boxes = layout(edges)
            except ModuleNotFoundError:
                break
            found["ms"] += round((time.process_time() - began) * 1000)
            each.append(drawings.crossings(edges, boxes))
            found["struck"] += drawings.struck(edges, boxes)
            found["overlaps"] += len(list(drawings.overlaps(boxes)))
            found["backward"] += len(drawings.backward(edges, boxes))
            found["area"] += round(drawings.area(boxes))
        else:
            print(
                f"{layout.__name__:15} {sum(each):10} {found['struck']:7} {found['overlaps']:9} {found['backward']:9} "
                f"{found['area']:6} {found['ms']:7}\n    by graph: {each}"
            )


def large() -> None:
    for graph in LARGE:
        for layout in LAYOUTS:
            subprocess.run([sys.executable, "-m", "bench.layouts", layout.__name__, graph], check=False)


def one(name: str, graph: str) -> None:
    """Draws one large graph; ended by the system where it takes too long."""
    layout: Any = globals()[name]
    edges = LARGE[graph]()
    print(f"{graph:22} {name:15}", end=" ", flush=True)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    began = time.process_time()
    layout(edges)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{time.process_time() - began:6.1f} s CPU, {memory} MB")


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case ["large"]:
            large()
        case [name, graph]:
            one(name, graph)
