"""One node, run once on a given input, outside of any run: nothing is recorded.

The node runner does it, because it alone has what nodes may reach; who asks calls it and waits. The node is told by a
plan of its own, in which the nodes before it are given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.compiler.plan import Inbound, Plan, PlanNode
from chalicelib.foundation.errors import InvalidInput
from chalicelib.foundation.json_types import Json, dumps
from chalicelib.graph.executions import Execution, ExecutionStatus, Payload, StepRecord, StepStatus, Trigger
from chalicelib.store.executions import RunSnapshot


@dataclass(frozen=True)
class Trial:
    """``id`` names it in what the node sends to others; ``data`` is its input."""

    id: str
    organization_id: str
    workflow_id: str
    plan: Plan
    node: str  # key in the plan
    data: Json
    now: str  # timestamp

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "organization": self.organization_id,
            "workflow": self.workflow_id,
            "plan": self.plan.to_json(),
            "node": self.node,
            "data": self.data,
            "now": self.now,
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Trial:
        return cls(
            id=raw["id"],
            organization_id=raw["organization"],
            workflow_id=raw["workflow"],
            plan=Plan.from_json(raw["plan"]),
            node=raw["node"],
            data=raw["data"],
            now=raw["now"],
        )

    @property
    def execution(self) -> Execution:
        """What stands in the place of the run that there is not."""
        return Execution(
            id=self.id,
            organization_id=self.organization_id,
            workflow_id=self.workflow_id,
            status=ExecutionStatus.RUNNING,
            plan="",
            machine="",
            trigger=Trigger("test", "api", _payload(self.data)),
            tasks_total=1,
            created_at=self.now,
            started_at=self.now,
        )

    def snapshot(self, node: PlanNode) -> RunSnapshot:
        """The records of the nodes before ``node``, as its input tells of them."""
        given = given_values(node.inbound, self.data)
        steps = {
            (edge.source, ""): StepRecord(
                edge.source, "", StepStatus.SUCCEEDED, port=edge.source_port, output=_payload(value)
            )
            for edge, value in given
        }
        return RunSnapshot(self.execution, steps)


def given_values(inbound: tuple[Inbound, ...], data: Json) -> list[tuple[Inbound, Json]]:
    """What each connection brings that the input ``data`` has something of. Raises ``InvalidInput``."""
    if len(inbound) <= 1:
        return [(edge, data) for edge in inbound]
    ports = [edge.target_port for edge in inbound]
    by_port = len(set(ports)) == len(ports)
    names = {(edge.target_port if by_port else edge.source): edge for edge in inbound}
    if not isinstance(data, Mapping) or not data.keys() & names.keys():
        keys = ", ".join(sorted(names))
        raise InvalidInput.at("input", f"Several connections lead to the node: an object with some of the keys {keys}.")
    return [(edge, data[name]) for name, edge in names.items() if name in data]


def _payload(value: Json) -> Payload:
    text = dumps(value)
    return Payload(text=text, size=len(text.encode()))
