"""Nodes, prepared: what every visit of a node asks of its plan and its type is found out once, and kept for a while.

All of it follows from the plan, which is named by its content, and from the catalog of this process; nothing of a run
is in it. So all runs and threads share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache

from chalicelib.compiler.plan import Plan, PlanNode
from chalicelib.engines.inputs import Inputs, path_at
from chalicelib.foundation.expressions import Literal, Template
from chalicelib.foundation.json_types import Json, Value
from chalicelib.graph.credentials import REFERENCE
from chalicelib.nodes.registry import Registry
from chalicelib.nodes.spec import NodeConfig, NodeType
from chalicelib.store.plans import PlanRepository

_KEPT_PLANS = 8
_KEPT_NODES = 256  # of each; a run whose records stay in memory has fewer
_KEPT_CHARS = 1_000  # of the expressions of a config that is kept: parsed they take a hundred times the memory


class PreparedConfig:
    """The config of a node, its templates parsed. Raises ``ExpressionError`` for a malformed one."""

    def __init__(self, kind: NodeType, config: Mapping[str, Json]) -> None:
        self.kind = kind
        self.source = config
        self.template = Template(kind.templates(config))
        #: Whether rendering it may ask for a credential.
        self.names_credentials = kind.names_credentials and any(map(REFERENCE.search, self.template.literals))

    @cached_property
    def constant(self) -> NodeConfig | None:
        """The config as its model, where that is the same at every visit. Raises ``Permanent`` as ``parse`` does."""
        if self.template.expressions or self.names_credentials:
            return None
        return self.kind.parse(self.source)

    def rendered(self, inputs: Inputs, literal: Literal | None = None) -> dict[str, Value]:
        """The config with its templates rendered, and what stands between them by ``literal``.

        What may be large stays stored where the type takes it so. Raises ``Permanent``, as ``ExpressionError`` too.
        """
        rendered = inputs.render(self.template, literal)
        return {
            **self.source,
            **{
                key: value if key in self.kind.passed_fields else inputs.loaded(value, f"config.{key}")
                for key, value in rendered.items()
            },
        }

    @property
    def is_small(self) -> bool:
        return sum(len(expression.source) for expression in self.template.expressions) <= _KEPT_CHARS


class PreparedNode:
    """A node of a plan. ``kind`` is None where there is no such type any more."""

    def __init__(self, plan: Plan, node: PlanNode, kind: NodeType | None) -> None:
        self.plan = plan
        self.node = node
        self.kind = kind
        self.order = plan.order[node.id]
        self.awaited: Sequence[str] = plan.late_joins.get(node.key, ())
        self._needs_outside_of_loops = needs(plan, node, "")
        self._config: PreparedConfig | None = None

    def needs(self, path: str) -> list[tuple[str, str]]:
        return needs(self.plan, self.node, path) if path else self._needs_outside_of_loops

    @property
    def config(self) -> PreparedConfig:
        """Raises ``ExpressionError`` where a template is malformed."""
        assert self.kind is not None
        config = self._config or PreparedConfig(self.kind, self.node.config)
        if self._config is None and config.is_small:
            self._config = config
        return config


def preparation(plans: PlanRepository, catalog: Registry) -> Callable[[str, str], PreparedNode]:
    """What prepares a node by the hash of its plan and its key there; raises ``Downstream`` where there is no plan."""

    @lru_cache(_KEPT_PLANS)
    def of_plan(plan_hash: str) -> Callable[[str], PreparedNode]:
        plan = plans.get(plan_hash)

        @lru_cache(_KEPT_NODES)
        def prepared(key: str) -> PreparedNode:
            node = plan.by_key[key]
            return PreparedNode(plan, node, catalog.find(node.type))

        return prepared

    return lambda plan_hash, key: of_plan(plan_hash)(key)


def needs(plan: Plan, node: PlanNode, path: str) -> list[tuple[str, str]]:
    """The records that decide and feed a node.

    Its own, its predecessors', those that its expressions name, and those of loops around it that have a time limit.
    """
    names = [node.id, *(edge.source for edge in node.inbound), *node.reads, *node.loops[-1:]]
    names += plan.late_joins.get(node.key, ())
    names += [loop for loop in node.loops if plan.nodes[loop].timeout_s is not None]
    return [(name, path_at(path, plan, name)) for name in names]
