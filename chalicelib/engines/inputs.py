"""The input of a node, and the names that its expressions know."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property

from chalicelib.compiler.plan import Inbound, Join, Plan, PlanNode
from chalicelib.engines.lists import Lists
from chalicelib.engines.payloads import Payloads
from chalicelib.foundation.expressions import Literal, References, compile_expression, render, template_references
from chalicelib.foundation.json_types import Json
from chalicelib.graph.executions import Execution, StepRecord
from chalicelib.nodes.spec import NodeType
from chalicelib.store.executions import RunSnapshot

Configured = tuple[NodeType, Mapping[str, Json]]  # a type, and a config of it

_INDEX = re.compile(r"\[\d+\]")


def iteration(path: str, index: int) -> str:
    """The path of one item of a loop that itself is at ``path``."""
    return f"{path}[{index}]"


def path_within(path: str, node: PlanNode) -> str:
    """The part of ``path`` that concerns a node: a node outside of a loop ran once for all of its items."""
    return "".join(_INDEX.findall(path)[: len(node.loops)])


def last_index(path: str) -> int:
    """The item of the innermost loop that ``path`` names."""
    return int(_INDEX.findall(path)[-1][1:-1])


class Inputs:
    def __init__(
        self,
        plan: Plan,
        node: PlanNode,
        path: str,
        execution: Execution,
        snapshot: RunSnapshot,
        payloads: Payloads,
    ) -> None:
        self._plan = plan
        self._node = node
        self._path = path
        self._execution = execution
        self._snapshot = snapshot
        self._payloads = payloads
        self._lists = Lists(payloads.blobs)

    @cached_property
    def live_values(self) -> list[Json]:
        """What the live connections bring, in their order; the mapped input where the node maps it."""
        if self._node.input_mappings:
            return [self._mapped]
        return [value for _, value in self._live]

    def names(self, kind: NodeType, attached: Iterable[Configured] = ()) -> dict[str, Json]:
        """``data``, ``execution`` and ``vars``, and of ``trigger``, ``nodes`` and ``loop`` what the configs ask for.

        ``attached`` are the configs beside the node's own.
        """
        used = _references([(kind, self._node.config), *attached])
        names = dict(self._base_names(used))
        names["data"] = self._mapped if self._node.input_mappings else self._data
        if kind.is_trigger:
            names["trigger"] = self._trigger
        return names

    def config(self, kind: NodeType, names: Mapping[str, Json], literal: Literal | None = None) -> dict[str, Json]:
        """See ``rendered``."""
        return rendered(kind, self._node.config, names, literal)

    def evaluator(self, names: Mapping[str, Json]) -> Callable[[str, Mapping[str, Json]], Json]:
        return lambda source, more: compile_expression(source).evaluate({**names, **more})

    @cached_property
    def _live(self) -> list[tuple[Inbound, Json]]:
        return [(edge, value) for edge in self._node.inbound for value in self._value(edge)]

    def _value(self, edge: Inbound) -> list[Json]:
        """What a connection carries: one value, or none where it is dead."""
        source = self._plan.nodes[edge.source]
        step = self._snapshot.steps.get((source.id, path_within(self._path, source)))
        if step is None:
            return []
        if self._node.loops[-1:] == (source.id,):  # the first of a loop's body
            return [self._item(step)]
        return [self._payloads.get(step.output)] if step.is_live(edge.source_port) else []

    @cached_property
    def _data(self) -> Json:
        """The input, by the inbound connections.

        None: the trigger's payload. One: that output. Several: an object by target port, or by source where ports are
        alike.
        """
        if not self._node.inbound:
            return self._trigger
        if self._node.join is None:
            return self._live[0][1]
        by_port = self._node.join is Join.BY_PORT
        return {edge.target_port if by_port else edge.source: value for edge, value in self._live}

    @cached_property
    def _mapped(self) -> Json:
        names = {**self._base_names(_union(self._mapping_references())), "data": self._data}
        return {
            field: compile_expression(source).evaluate(names) for field, source in self._node.input_mappings.items()
        }

    @cached_property
    def _trigger(self) -> Json:
        return self._payloads.get(self._execution.trigger.payload)

    def _base_names(self, used: References) -> dict[str, Json]:
        names: dict[str, Json] = {"vars": {}, "execution": self._execution_names()}
        if "trigger" in used.names:
            names["trigger"] = self._trigger
        if "nodes" in used.names:
            names["nodes"] = self._outputs(used)
        if "loop" in used.names and self._node.loops:
            names["loop"] = self._loop()
        return names

    def _execution_names(self) -> dict[str, Json]:
        run = self._execution
        return {"id": run.id, "workflowId": run.workflow_id, "startedAt": run.started_at or run.created_at}

    def _outputs(self, used: References) -> dict[str, Json]:
        names = self._node.reads if used.all_nodes else [name for name in self._node.reads if name in used.nodes]
        outputs = {}
        for name in names:
            step = self._snapshot.steps.get((name, path_within(self._path, self._plan.nodes[name])))
            if step is not None and step.port is not None:
                outputs[name] = self._payloads.get(step.output)
        return outputs

    def _loop(self) -> dict[str, Json]:
        loop = self._plan.nodes[self._node.loops[-1]]
        step = self._snapshot.steps[loop.id, path_within(self._path, loop)]
        return {"index": last_index(self._path), "item": self._item(step), "count": step.count}

    def _item(self, step: StepRecord) -> Json:
        """The item of the innermost loop, whose record is ``step``."""
        assert step.items is not None
        return self._lists.item(step.items, last_index(self._path))

    def _mapping_references(self) -> list[References]:
        return [compile_expression(source).references for source in self._node.input_mappings.values()]


def rendered(
    kind: NodeType, config: Mapping[str, Json], names: Mapping[str, Json], literal: Literal | None = None
) -> dict[str, Json]:
    """A config with its templates rendered, and what stands between them by ``literal``. Raises ``ExpressionError``."""
    templates = render(kind.templates(config), names, literal=literal)
    assert isinstance(templates, Mapping)
    return {**config, **templates}


def _references(configs: Iterable[Configured]) -> References:
    found = []
    for kind, config in configs:
        found.append(template_references(kind.templates(config)))
        found += [compile_expression(source).references for source in kind.expressions(config)]
    return _union(found)


def _union(found: list[References]) -> References:
    return References(
        nodes=frozenset().union(*(references.nodes for references in found)),
        all_nodes=any(references.all_nodes for references in found),
        names=frozenset().union(*(references.names for references in found)),
    )
