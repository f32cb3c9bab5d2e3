"""Each pass of the compiler on small graphs: ``passes/<pass>.yaml`` holds graphs and what the pass makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.compiler.passes.annotate import state_key
from chalicelib.compiler.passes.fuse import MAX_CHAIN
from chalicelib.compiler.passes.prune import prune
from chalicelib.compiler.passes.reduce import reduce
from chalicelib.compiler.passes.split import split
from chalicelib.compiler.pipeline import MANUAL, compile_plan
from chalicelib.compiler.plan import Loop, PlanNode, steps_of
from chalicelib.compiler.scopes import analyse_scopes
from chalicelib.graph.model import Connection, Graph, Retry
from chalicelib.graph.structure import successors
from chalicelib.nodes.registry import CATALOG
from tests.notation import edges_of, graph, show

FOLDER = Path(__file__).parent / "passes"


def cases(name: str) -> pytest.MarkDecorator:
    table = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return pytest.mark.parametrize("case", table, ids=lambda case: case["title"])


def given(case: dict[str, Any]) -> Graph:
    return graph(case["graph"], case.get("nodes"))


def shown(connections: tuple[Connection, ...]) -> list[str]:
    return [f"{connection.source} -> {connection.target}" for connection in connections]


@cases("prune")
def test_prune(case: dict[str, Any]) -> None:
    """What a start never reaches is left out, and told."""
    start = prune(given(case), CATALOG, case.get("trigger", MANUAL))
    expect = case["expect"]
    assert [node.id for node in start.graph.nodes] == expect["kept"]
    assert start.trigger == expect["trigger"]
    assert [node.id for node in start.dead] == expect["dead"]
    if "connections" in expect:
        assert shown(start.graph.connections) == expect["connections"]


@cases("analyse_scopes")
def test_analyse_scopes(case: dict[str, Any]) -> None:
    """The top level and every loop's body are graphs of their own."""
    found = {
        ".".join(scope.loops): {
            "nodes": list(scope.nodes),
            "connections": shown(scope.connections),
            "entries": shown(scope.entries),
            "sinks": list(scope.sinks),
        }
        for scope in analyse_scopes(given(case), CATALOG).walk()
    }
    assert found == case["expect"]


@cases("reduce")
def test_reduce(case: dict[str, Any]) -> None:
    """Connections that order nothing are dropped."""
    edges = successors(given(case))
    reduced = reduce(list(edges), edges)
    assert {(source, target) for source, targets in reduced.items() for target in targets} == edges_of(case["expect"])


@cases("split")
def test_split(case: dict[str, Any]) -> None:
    """A graph is put together of what runs side by side and what runs one after the other."""
    edges = successors(given(case))
    assert show(split(list(edges), edges, case.get("durations", {}))) == case["expect"]


@cases("guard")
def test_guard(case: dict[str, Any]) -> None:
    """What hangs from one port alone runs only when that port is taken."""
    assert show(compile_plan(given(case), CATALOG, fused=False).root) == case["expect"]


@cases("fuse")
def test_fuse(case: dict[str, Any]) -> None:
    """Nodes that follow each other and need no state of their own are one visit of the runner."""
    plan = compile_plan(given(case), CATALOG, default_retry=Retry(case.get("default_attempts", 1)))
    assert show(plan.root) == case["expect"]
    assert all(plan.chains[plan.nodes[names[0]].key] == names for names in plan.chains.values())


def test_chains_are_bounded() -> None:
    """What one visit reads at once, and how late it learns that it is cancelled, does not grow with the graph."""
    plan = compile_plan(graph(" -> ".join(f"n{index}" for index in range(2 * MAX_CHAIN + 1))), CATALOG)
    assert [len(names) for names in plan.chains.values()] == [MAX_CHAIN, MAX_CHAIN]
    assert list(steps_of(plan.root)) == list(plan.nodes)


@cases("annotate")
def test_annotate(case: dict[str, Any]) -> None:
    """The runner is told of each node what it has to know."""
    plan = compile_plan(given(case), CATALOG, default_retry=Retry(case.get("default_attempts", 1)))
    found = {name: facts(plan.nodes[name], expect) for name, expect in case["expect"].items()}
    assert found == case["expect"]


def facts(node: PlanNode, wanted: dict[str, Any]) -> dict[str, Any]:
    """The facts of a node that a case asks for, as YAML spells them."""
    every: dict[str, Any] = {
        "key": node.key,
        "inbound": [[edge.source, edge.source_port, edge.target_port] for edge in node.inbound],
        "reads": list(node.reads),
        "loops": list(node.loops),
        "body_sinks": list(node.body_sinks),
        "guarded": {port: list(names) for port, names in node.guarded.items()},
        "attempts": node.retry.max_attempts,
        "timeout_s": node.timeout_s,
        "on_error": str(node.on_error),
        "attachments": [[item.port, item.name, item.type, item.label] for item in node.attachments],
    }
    return {name: every[name] for name in wanted}


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({}, None),
        ({"maxConcurrency": 3}, 3),
        ({"maxConcurrency": "3"}, 3),  # text that is a number will do, as for any config
        ({"maxConcurrency": True}, 1),
        ({"maxConcurrency": "{{ data.n }}"}, None),  # not known before the run
    ],
)
def test_limit_of_a_loop(config: dict[str, Any], limit: int | None) -> None:
    """The limit is the config as its model reads it, never a boolean or a text in the state machine."""
    plan = compile_plan(graph("l=loop; l.item -> a", {"l": {"config": {"items": "data", **config}}}), CATALOG)
    assert isinstance(plan.root, Loop)
    assert (type(plan.root.max_concurrency), plan.root.max_concurrency) == (type(limit), limit)


def test_state_keys_never_meet() -> None:
    """Ids that differ have names that differ, copied names of ours too, all short enough for `.settle` to follow."""
    ids = ["a.port", "a port", "a-port", "A-port", "a.Port", "", ".", "..", "é", "x" * 60, "x" * 61, "x" * 128]
    ids += [state_key(name) for name in ids if state_key(name) != name]
    keys = [state_key(name) for name in ids]
    assert len(set(keys)) == len(set(ids))
    assert all(len(key) <= 80 - len(".settle") and "." not in key for key in keys)
