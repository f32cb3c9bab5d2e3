"""What the nodes of a run are doing, read out of what the API answers.

``GET /api/v1/executions/{id}`` lists tasks as they come to be; a person wants every node of the graph, in the order
of the graph, from the start. A node inside a loop is one node and many tasks (``price[0]``, ``price[1]``): here it is
one ``NodeRun`` with many spans. Both the live view and the picture are drawn from this.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from graphlib import TopologicalSorter
from typing import Any

#: Statuses of a task, the one that matters most first: a loop's node shows the first that any of its items has.
STATUSES = (
    "FAILED", "TIMED_OUT", "CANCELLED", "RUNNING", "WAITING", "PAUSED", "QUEUED", "PENDING", "SUCCESS", "SKIPPED",
)  # fmt: skip

TERMINAL = frozenset({"SUCCESS", "FAILED", "CANCELLED", "TIMED_OUT"})


@dataclass(frozen=True)
class Span:
    """One stretch of time in which a node was at work."""

    status: str
    started: datetime
    finished: datetime | None  #: None while it lasts


@dataclass(frozen=True)
class NodeRun:
    id: str
    label: str
    type: str  #: its entry in the catalog, as ``csv-parse``
    status: str
    attempts: int  #: of all items together, where the node is in a loop
    spans: tuple[Span, ...]
    error: str

    def seconds(self, now: datetime) -> float:
        """How long it has been at work, from the first start to the last end; ``now`` stands for an end to come."""
        if not self.spans:
            return 0.0
        last = max(span.finished or now for span in self.spans)
        return max(0.0, (last - min(span.started for span in self.spans)).total_seconds())

    @property
    def took(self) -> str:
        """``0.42 s``, with the number of items or of attempts where it is not one; empty until all has ended."""
        ends = [span.finished for span in self.spans if span.finished]
        if not ends or len(ends) < len(self.spans):
            return ""
        if len(ends) > 1:
            return f"{duration(self.seconds(max(ends)))}, {len(ends)} items"
        return duration(self.seconds(ends[0])) + (f", {self.attempts} attempts" if self.attempts > 1 else "")


def layers(workflow: Mapping[str, Any]) -> list[list[str]]:
    """The ids of the nodes, in layers: each node stands one layer after the last of its predecessors."""
    order = {node["id"]: index for index, node in enumerate(workflow["nodes"])}
    sorter = TopologicalSorter[str](dict.fromkeys(order, ()))
    for connection in workflow["connections"]:
        sorter.add(connection["targetNodeId"], connection["sourceNodeId"])
    sorter.prepare()
    found = []
    while ready := sorter.get_ready():
        found.append(sorted(ready, key=order.__getitem__))
        sorter.done(*ready)
    return found


def node_runs(workflow: Mapping[str, Any], document: Mapping[str, Any]) -> list[NodeRun]:
    """Every node of the graph, in its order; PENDING where the API has nothing to tell yet."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    tasks = defaultdict(list)
    for task in document["tasks"]:
        node_id = task["taskId"]
        tasks[node_id if node_id in nodes else node_id.partition("[")[0]].append(task)
    return [_node_run(nodes[node_id], tasks[node_id]) for layer in layers(workflow) for node_id in layer]


def _node_run(node: Mapping[str, Any], tasks: list[Mapping[str, Any]]) -> NodeRun:
    return NodeRun(
        id=node["id"],
        label=node.get("label") or node["id"],
        type=node["nodeId"],
        status=min((task["status"] for task in tasks), key=STATUSES.index, default="PENDING"),
        attempts=sum(task.get("attempts") or 0 for task in tasks),
        spans=tuple(span for task in tasks if (span := _span(task))),
        error=next((describe_error(task["error"]) for task in tasks if task.get("error")), ""),
    )


def _span(task: Mapping[str, Any]) -> Span | None:
    started = moment(task.get("startedAt"))
    if started is None or task["status"] == "SKIPPED":
        return None
    return Span(task["status"], started, moment(task.get("finishedAt")))


def moment(text: str | None) -> datetime | None:
    """``2026-03-25T10:00:00Z`` as a moment; None stays None."""
    return datetime.fromisoformat(text) if text else None


def describe_error(error: object) -> str:
    """An error of the API in one line: ``{"name": ..., "message": ...}`` as ``name: message``."""
    if not isinstance(error, Mapping):
        return str(error)
    return ": ".join(str(error[key]) for key in ("name", "message") if error.get(key))


def words(status: str) -> str:
    """``TIMED_OUT`` as ``timed out``"""
    return status.lower().replace("_", " ")


def duration(seconds: float) -> str:
    """``0.42 s``, ``42.0 s``, ``2 min 03 s``."""
    if round(seconds, 2) < 10:
        return f"{seconds:.2f} s"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60:02} s"
