"""The goldens: graphs beside the state machines that are made of them.

``<name>.graph.yaml`` holds ``title``, ``graph`` (in the notation of ``tests.notation``), ``nodes`` (fields of nodes),
``settings`` (of the workflow) and ``runs``: what to start it with, and what to expect. ``<name>.asl.json`` is what the
compiler makes of it; ``python -m tests.compiler.rewrite`` writes those anew, and the difference is to be read before it
is committed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from chalicelib.compiler.asl.emit import emit
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.graph.model import Graph, Workflow
from chalicelib.nodes.registry import CATALOG
from tests.notation import graph

FOLDER = Path(__file__).parent / "goldens"
NODE_FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:node"
TABLE = "millrace"


@dataclass(frozen=True)
class Golden:
    name: str
    raw: dict[str, Any]

    def __str__(self) -> str:
        return self.name

    @property
    def graph(self) -> Graph:
        return graph(self.raw["graph"], self.raw.get("nodes"))

    @property
    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.raw.get("settings", {})
        return found

    @property
    def runs(self) -> list[dict[str, Any]]:
        """``{trigger, expect: {status, output, tasks, attempts?}}`` each."""
        found: list[dict[str, Any]] = self.raw["runs"]
        return found

    @property
    def plan(self) -> Plan:
        workflow = Workflow("wf", "org", "user", self.name, "", "", settings=self.settings)
        retry, timeout_s = workflow.default_retry, self.settings.get("timeout")
        return compile_plan(self.graph, CATALOG, default_retry=retry, timeout_s=timeout_s)

    @property
    def asl(self) -> Path:
        return FOLDER / f"{self.name}.asl.json"

    def compiled(self) -> str:
        """The state machine as it is made now, spelled as the file spells it."""
        return json.dumps(json.loads(emit(self.plan, NODE_FUNCTION, TABLE)), indent=2) + "\n"


def _load(path: Path) -> Golden:
    return Golden(path.name.removesuffix(".graph.yaml"), yaml.safe_load(path.read_text(encoding="utf-8")))


GOLDENS = [_load(path) for path in sorted(FOLDER.glob("*.graph.yaml"))]
