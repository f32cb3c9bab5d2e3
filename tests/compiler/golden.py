"""The goldens: graphs beside the state machines that are made of them.

``<name>.graph.yaml`` holds ``title``, ``graph`` (in the notation of ``tests.notation``), ``nodes`` (fields of nodes),
``settings`` (of the workflow) and ``runs``: what to start it with, and what to expect. ``<name>.asl.json`` is what the
compiler makes of it, ``<name>.1.asl.json`` and so on the state machines that it has executions of;
``python -m tests.compiler.rewrite`` writes those anew, and the difference is to be read before it is committed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from chalicelib.compiler.asl.emit import Definition, emit
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import Plan
from chalicelib.graph.model import Workflow
from chalicelib.nodes.registry import CATALOG
from tests.graph_files import GraphFile

FOLDER = Path(__file__).parent / "goldens"
NODE_FUNCTION = "arn:aws:lambda:eu-central-1:123456789012:function:node"
TABLE = "millrace"
MACHINES = "arn:aws:states:eu-central-1:123456789012:stateMachine:millrace-test-"


def emitted(plan: Plan) -> Definition:
    """The state machine of a plan, as it is made somewhere."""
    return emit(plan, NODE_FUNCTION, TABLE, MACHINES)


@dataclass(frozen=True)
class Golden(GraphFile):
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
        """The file of its state machine; those that it has executions of lie beside it, numbered."""
        return FOLDER / f"{self.name}.asl.json"

    @cached_property
    def definition(self) -> Definition:
        return emitted(self.plan)

    def compiled(self) -> str:
        """The state machine as it is made now, spelled as the file spells it."""
        return _spelled(self.definition.text)

    def files(self) -> dict[Path, str]:
        """All its state machines, by file."""
        children = {
            FOLDER / f"{self.name}.{number}.asl.json": _spelled(text)
            for number, text in enumerate(self.definition.children.values(), start=1)
        }
        return {self.asl: self.compiled()} | children


def _spelled(text: str) -> str:
    return json.dumps(json.loads(text), indent=2) + "\n"


def _load(path: Path) -> Golden:
    return Golden(path.name.removesuffix(".graph.yaml"), yaml.safe_load(path.read_text(encoding="utf-8")))


GOLDENS = [_load(path) for path in sorted(FOLDER.glob("*.graph.yaml"))]
