"""The input of a node, and the names that its expressions know.

Nothing is read before it is needed: each expression is given the names that it reads. What large values are only passed
on, as the input or by an expression that does no more than name them, stay stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from chalicelib.compiler.plan import Inbound, Join, Plan, PlanNode
from chalicelib.engines.lists import Lists
from chalicelib.engines.payloads import Payloads
from chalicelib.engines.values import StepValues
from chalicelib.foundation.expressions import Expression, Literal, References, Template, compile_expression
from chalicelib.foundation.json_types import Json, Stored, Value
from chalicelib.foundation.lazy import lazy
from chalicelib.graph.executions import Execution, StepRecord
from chalicelib.store.executions import RunSnapshot

_INDEX = re.compile(r"\[\d+\]")


def iteration(path: str, index: int) -> str:
    """The path of one item of a loop that itself is at ``path``."""
    return f"{path}[{index}]"


def path_within(path: str, node: PlanNode) -> str:
    """The part of ``path`` that concerns a node: a node outside of a loop ran once for all of its items."""
    return path_to(path, len(node.loops))


def path_at(path: str, plan: Plan, name: str) -> str:
    """The same of the node ``name``, which may be one that the run does not enter."""
    return path_to(path, len(plan.loops_around(name))) if path else ""


def path_to(path: str, depth: int) -> str:
    """The part of ``path`` that names the iterations of its ``depth`` outermost loops."""
    return "".join(_INDEX.findall(path)[:depth])


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
        values: StepValues,
    ) -> None:
        self._plan = plan
        self._node = node
        self._path = path
        self._execution = execution
        self._snapshot = snapshot
        self._payloads = payloads
        self._values = values

    @lazy
    def data(self) -> Value:
        """What expressions know as ``data``: the mapped input where the node maps it."""
        mappings = self._node.input_mappings
        if not mappings:
            return self._connected
        node = replace(self._node, input_mappings={})
        unmapped = Inputs(self._plan, node, self._path, self._execution, self._snapshot, self._payloads, self._values)
        return {field: unmapped.resolve(source) for field, source in mappings.items()}

    @lazy
    def live_values(self) -> list[Value]:
        """What the live connections bring, in their order; the mapped input where the node maps it."""
        if self._node.input_mappings:
            return [self.data]
        return [value for _, value in self._live]

    @lazy
    def trigger(self) -> Value:
        return self._payloads.value(self._execution.trigger.payload)

    def render(self, template: Template, literal: Literal | None = None) -> Mapping[str, Value]:
        """A part of a config, rendered, and what stands between the templates by ``literal``.

        Values that are large may be stored. Raises ``Permanent``, as ``ExpressionError`` too.
        """
        rendered = template.render_passing(self._read, self._passed, literal=literal)
        assert isinstance(rendered, Mapping)
        return rendered

    def loaded(self, value: Value, name: str) -> Json:
        """Raises ``Permanent`` for more than can be loaded."""
        return self._values.load(value, name)

    def evaluate(self, source: str, more: Mapping[str, Json]) -> Json:
        """Raises ``ExpressionError``."""
        expression = compile_expression(source)
        return expression.evaluate({**self._read(expression.references), **more})

    def resolve(self, source: str) -> Value:
        """The value of an expression; a large one that it only names stays stored. Raises ``ExpressionError``."""
        expression = compile_expression(source)
        return self._passed(expression) or expression.evaluate(self._read)

    def _passed(self, expression: Expression) -> Stored | None:
        """The stored value that an expression names, if it does nothing else."""
        if expression.path is None:
            return None
        match expression.path:
            case ("data", *names):
                value = self.data
            case ("trigger", *names):
                value = self.trigger
            case ("nodes", node, *names):
                value = self._outputs.get(node)
            case _:
                return None
        for name in names:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value if isinstance(value, Stored) else None

    @lazy
    def _live(self) -> list[tuple[Inbound, Value]]:
        return [(edge, value) for edge in self._node.inbound for value in self._value(edge)]

    def _value(self, edge: Inbound) -> list[Value]:
        """What a connection carries: one value, or none where it is dead."""
        step = self._snapshot.steps.get((edge.source, path_at(self._path, self._plan, edge.source)))
        if step is None:
            return []
        if self._node.loops[-1:] == (edge.source,):  # the first of a loop's body
            return [self._item(step)]
        return [self._payloads.value(step.output)] if step.is_live(edge.source_port) else []

    @lazy
    def _connected(self) -> Value:
        """The input, by the inbound connections.

        None: the trigger's payload. One: that output. Several: an object by target port, or by source where ports are
        alike.
        """
        if not self._node.inbound:
            return self.trigger
        if self._node.join is None:
            return self._live[0][1]
        by_port = self._node.join is Join.BY_PORT
        return {edge.target_port if by_port else edge.source: value for edge, value in self._live}

    def _read(self, used: References) -> Mapping[str, Json]:
        """Of the names that an expression may use those that it does use, loaded."""
        names: dict[str, Json] = {}
        if "vars" in used.names:
            names["vars"] = {}
        if "execution" in used.names:
            names["execution"] = self._execution_names()
        if "data" in used.names:
            names["data"] = self._loaded_data
        if "trigger" in used.names:
            names["trigger"] = self._loaded_trigger
        if "nodes" in used.names:
            read = self._outputs.keys() if used.all_nodes else self._outputs.keys() & used.nodes
            names["nodes"] = {name: self._values.load(self._outputs[name], f"nodes.{name}") for name in read}
        if "loop" in used.names and self._node.loops:
            names["loop"] = self._loop()
        return names

    @lazy
    def _loaded_data(self) -> Json:
        return self._values.load(self.data, "data")

    @lazy
    def _loaded_trigger(self) -> Json:
        return self._values.load(self.trigger, "trigger")

    def _execution_names(self) -> dict[str, Json]:
        run = self._execution
        return {"id": run.id, "workflowId": run.workflow_id, "startedAt": run.started_at or run.created_at}

    @lazy
    def _outputs(self) -> dict[str, Value]:
        """The outputs that expressions of the node may name, as far as there are any."""
        outputs = {}
        for name in self._node.reads:
            step = self._snapshot.steps.get((name, path_at(self._path, self._plan, name)))
            if step is not None and step.port is not None:
                outputs[name] = self._payloads.value(step.output)
        return outputs

    def _loop(self) -> dict[str, Json]:
        loop = self._plan.nodes[self._node.loops[-1]]
        step = self._snapshot.steps[loop.id, path_within(self._path, loop)]
        return {"index": last_index(self._path), "item": self._item(step), "count": step.count}

    def _item(self, step: StepRecord) -> Json:
        """The item of the innermost loop, whose record is ``step``."""
        assert step.items is not None
        return Lists(self._payloads).item(step.items, last_index(self._path))
