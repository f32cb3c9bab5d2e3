"""The catalog: every node type by its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from chalicelib.nodes.ai import agent, bedrock_model, openai_compatible_model
from chalicelib.nodes.control import approval, condition, fail, loop, sub_workflow, switch, wait, wait_for_event
from chalicelib.nodes.data import csv_parse, filter, json_parse, merge, set_fields, transform
from chalicelib.nodes.io import email_send, event_emit, http_request, log, s3_read, s3_write, script, sqs_send
from chalicelib.nodes.spec import NodeType
from chalicelib.nodes.triggers import (
    email_trigger,
    event_trigger,
    manual_trigger,
    queue_trigger,
    schedule_trigger,
    webhook_trigger,
)

MODULES = (
    manual_trigger, queue_trigger, event_trigger, webhook_trigger, email_trigger, schedule_trigger,
    set_fields, transform, filter, merge, csv_parse, json_parse,
    condition, switch, loop, wait, wait_for_event, approval, sub_workflow, fail,
    http_request, s3_read, s3_write, sqs_send, event_emit, email_send, log, script,
    agent, bedrock_model, openai_compatible_model,
)  # fmt: skip


class Registry:
    """Node types by name. Satisfies ``graph.catalog.Catalog``."""

    def __init__(self, types: Iterable[NodeType]) -> None:
        self._types: dict[str, NodeType] = {}
        for kind in types:
            if self._types.setdefault(kind.name, kind) is not kind:
                raise ValueError(f"two node types are called {kind.name!r}")

    def find(self, name: str) -> NodeType | None:
        return self._types.get(name)

    def __iter__(self) -> Iterator[NodeType]:
        return iter(self._types.values())


CATALOG = Registry(module.TYPE for module in MODULES)
