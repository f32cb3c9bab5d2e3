"""What validate tells of graphs: the table of ``problems.yaml``, and that no graph is too odd for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from chalicelib.graph.model import Graph
from chalicelib.graph.validate import ERROR_TYPES, WARNING_TYPES, errors, validate
from chalicelib.nodes.registry import CATALOG
from tests.graph.graphs import graphs
from tests.notation import graph

TABLE: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "problems.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case["title"])
def test_problems(case: dict[str, Any]) -> None:
    """Each graph has the problems that the table says, all of them, in this order."""
    given = Graph.from_json(case["raw"]) if "raw" in case else graph(case["graph"], case.get("nodes"))
    found = validate(given, CATALOG)
    assert [f"{problem.type} {problem.node_id or '-'} {problem.path or '-'}" for problem in found] == case["expect"]
    messages = " | ".join(problem.message for problem in found)
    assert [words for words in case.get("says", ()) if words not in messages] == []


def test_table_has_every_type() -> None:
    """No type of problem goes without an example."""
    told = {line.split()[0] for case in TABLE for line in case["expect"]}
    assert told == {*ERROR_TYPES, *WARNING_TYPES}


def test_wire_form_names_only_what_there_is() -> None:
    """`nodeId` and `path` are absent where a problem concerns neither."""
    [problem] = validate(Graph(), CATALOG)
    assert problem.to_json() == {"type": "empty-workflow", "message": "The workflow has no nodes."}
    [problem] = validate(graph("t=manual-trigger -> a=teleport"), CATALOG)
    assert problem.to_json().keys() == {"type", "message", "nodeId", "path"}


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_no_graph_is_too_odd(given: Graph) -> None:
    """Whatever a graph of the right shape holds: it is judged, the same each time, errors first, by the known types."""
    found = validate(given, CATALOG)
    assert found == validate(given, CATALOG)
    assert found == sorted(found, key=lambda problem: not problem.is_error)
    assert {problem.type for problem in found} <= {*ERROR_TYPES, *WARNING_TYPES}
    assert errors(given, CATALOG) == [problem for problem in found if problem.is_error]
