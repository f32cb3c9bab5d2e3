"""The example files keep the form that their README promises. That they run, and with what result, the stack shows."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonata import Jsonata

from tests.examples.runs_at_hand import EXAMPLES, SMALL, WEATHER, small_workflow, weather_workflow

EXPRESSIONS = {
    "transform": ("expression",),
    "condition": ("expression",),
    "switch": ("expression",),
    "loop": ("items",),
}
WORKFLOWS = [pytest.param(small_workflow(path.name), id=path.stem) for path in SMALL]
WORKFLOWS.append(pytest.param(weather_workflow(), id="weather"))


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_small_example_has_three_parts(path: Path) -> None:
    """A workflow, what to start it with, and what to expect."""
    assert set(json.loads(path.read_text(encoding="utf-8"))) == {"workflow", "triggerInputs", "expect"}


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_workflow_is_complete(workflow: dict[str, Any]) -> None:
    """It is named and described, ids are unique, and every connection has two ends and a port that its source has."""
    assert workflow["name"]
    assert workflow["description"]
    assert "example" in workflow["tags"]
    nodes = {node["id"]: node for node in workflow["nodes"]}
    assert len(nodes) == len(workflow["nodes"])
    assert len({connection["id"] for connection in workflow["connections"]}) == len(workflow["connections"])
    for connection in workflow["connections"]:
        assert connection["targetNodeId"] in nodes
        source = nodes[connection["sourceNodeId"]]
        assert connection["sourcePort"] in ports(source)


def ports(node: dict[str, Any]) -> set[str]:
    named = {
        "condition": {"true", "false"},
        "loop": {"item", "done"},
        "approval": {"approved", "rejected"},
        "switch": {*node["config"].get("cases", ()), "default"},
    }
    error = {"error"} if node.get("settings", {}).get("onError") == "port" else set()
    return named.get(node["nodeId"], {"output"}) | error


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_expressions_are_well_formed(workflow: dict[str, Any]) -> None:
    """Each parses as JSONata, those inside templates too."""
    for node in workflow["nodes"]:
        sources = [node["config"][field] for field in EXPRESSIONS.get(node["nodeId"], ()) if field in node["config"]]
        if node["nodeId"] not in EXPRESSIONS:
            sources += re.findall(r"\{\{(.*?)\}\}", json.dumps(node["config"], ensure_ascii=False))
        for source in sources:
            Jsonata(source)


def test_readme_lists_every_example() -> None:
    """No example is forgotten, none is listed that is gone."""
    listed = re.findall(r"^\| \[([^\]]+\.json)\]\(\1\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"), re.M)
    assert sorted(listed) == sorted([path.name for path in SMALL] + ["weather/workflow.json"])


def test_data_is_what_its_licence_statement_speaks_of() -> None:
    """The CSV file is the published one, unchanged: its README gives the hash."""
    digest = hashlib.sha256((WEATHER / "seattle-weather.csv").read_bytes()).hexdigest()
    assert digest in (WEATHER / "README.md").read_text(encoding="utf-8")
