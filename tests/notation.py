"""Graphs in a few words, and regions as text: what tests of the core are written in.

::

    t=manual-trigger -> c=condition        a chain; `name=type` says what a node is, once; else it is a transform
    c.true -> a, b; a, b -> d              `.port` leaves by a port; a list is every pair; `;` or a line ends it
    d -> m:left; "odd id" -> m:right       `:port` enters by a port; quotes hold any name (JSON text)

A node gets the least config that its type takes: the cases of a switch are the ports that leave it, and a node that
leaves by ``error`` has ``onError: port``. Whatever else a test needs it says by node:
``graph("a -> b", {"b": {"config": {...}, "settings": {...}}})``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.compiler.blocks import Block
from chalicelib.compiler.plan import Chain, Choice, Gate, Loop, Parallel, Region, Series, Step
from chalicelib.graph.model import Connection, Graph, Node

_TOKEN = re.compile(r'(->|[;\n,=:.]|"(?:[^"\\]|\\.)*"|[\w-]+?(?=->)|[\w-]+)[^\S\n]*')
_CONFIGS: dict[str, dict[str, Any]] = {
    "transform": {"expression": "data"},
    "condition": {"expression": "data"},
    "loop": {"items": "data"},
    "wait": {"seconds": 0},
    "merge": {"mode": "object"},
    "filter": {"condition": "item"},
    "log": {"message": "here"},
    "fail": {"error": "Failed", "message": "on purpose"},
    "set-fields": {"fields": {}},
    "csv-parse": {"text": ""},
    "json-parse": {"text": "{{ data }}"},
    "http-request": {"method": "GET", "url": "http://127.0.0.1/"},
    "s3-read": {"bucket": "bucket", "key": "key"},
    "s3-write": {"bucket": "bucket", "key": "key", "body": ""},
    "script": {"code": "def main(data): return data"},
    "agent": {"goal": "Go."},
    "bedrock-model": {"modelId": "amazon.nova-lite-v1:0"},
    "openai-compatible-model": {"baseUrl": "http://127.0.0.1/v1", "model": "m"},
}


@dataclass
class _End:
    """One mention of a node."""

    name: str
    enters: str = "input"
    leaves: str = "output"


@dataclass
class _Draft:
    types: dict[str, str] = field(default_factory=dict)
    links: list[tuple[_End, _End]] = field(default_factory=list)


def graph(text: str, nodes: Mapping[str, Mapping[str, Any]] | None = None) -> Graph:
    """The graph that ``text`` says; ``nodes`` sets or replaces fields of nodes, spelled as the API spells them."""
    draft = _read(text)
    if unknown := (nodes or {}).keys() - draft.types.keys():
        raise ValueError(f"not in the graph: {sorted(unknown, key=str)}")
    return Graph.from_json(
        {
            "nodes": [
                _node(name, kind, draft.links) | dict((nodes or {}).get(name, {})) for name, kind in draft.types.items()
            ],
            "connections": [
                Connection(f"c{number}", source.name, target.name, source.leaves, target.enters).to_json()
                for number, (source, target) in enumerate(draft.links, start=1)
            ],
        }
    )


def _node(name: str, kind: str, links: list[tuple[_End, _End]]) -> dict[str, Any]:
    ports = list(dict.fromkeys(source.leaves for source, _ in links if source.name == name))
    config = _CONFIGS.get(kind, {})
    if kind == "switch":
        config = {"expression": "data", "cases": [port for port in ports if port not in ("default", "error")]}
    settings = {"settings": {"onError": "port"}} if "error" in ports else {}
    return {"id": name, "nodeId": kind, "label": name, "config": config, **settings}


def _read(text: str) -> _Draft:
    draft = _Draft()
    tokens = _Tokens(text)
    while tokens.next is not None:
        if tokens.next in (";", "\n"):
            tokens.take()
            continue
        ends = _ends(tokens, draft)
        while tokens.next == "->":
            tokens.take()
            following = _ends(tokens, draft)
            draft.links += [(source, target) for source in ends for target in following]
            ends = following
    return draft


def _ends(tokens: _Tokens, draft: _Draft) -> list[_End]:
    ends = [_end(tokens, draft)]
    while tokens.next == ",":
        tokens.take()
        ends.append(_end(tokens, draft))
    return ends


def _end(tokens: _Tokens, draft: _Draft) -> _End:
    end = _End(tokens.name())
    draft.types.setdefault(end.name, "transform")
    while tokens.next in ("=", ":", "."):
        match tokens.take():
            case "=":
                draft.types[end.name] = tokens.name()
            case ":":
                end.enters = tokens.name()
            case ".":
                end.leaves = tokens.name()
    return end


class _Tokens:
    def __init__(self, text: str) -> None:
        self._rest = self._split(text.strip())
        self.next = next(self._rest, None)

    def _split(self, text: str) -> Iterator[str]:
        at = 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            if found is None:
                raise ValueError(f"not in the notation: {text[at : at + 30]!r}")
            yield found[1]
            at = found.end()

    def take(self) -> str:
        taken, self.next = self.next, next(self._rest, None)
        if taken is None:
            raise ValueError("the text ends too early")
        return taken

    def name(self) -> str:
        token = self.take()
        if token.startswith('"'):
            return str(json.loads(token))
        if not token[0].isalnum() and token[0] != "_":
            raise ValueError(f"a name was expected, not {token!r}")
        return token


def edges_of(text: str) -> set[tuple[str, str]]:
    """The pairs of nodes that ``text`` connects."""
    return {(connection.source, connection.target) for connection in graph(text).connections}


def show(region: Region | Block | None) -> str:
    """A region, or a block, as text: ``series(c, choice c(true: a, false: b), loop l(x))``."""
    match region:
        case None:
            return ""
        case Step(node) | Block("node", node):
            return node
        case Series(parts) | Block("series", _, parts):
            return f"series({', '.join(map(show, parts))})"
        case Parallel(parts) | Block("parallel", _, parts):
            return f"parallel({', '.join(map(show, parts))})"
        case Choice(node, cases):
            return f"choice {node}({', '.join(f'{case.port}: {show(case.region)}' for case in cases)})"
        case Loop(node, body, _):
            return f"loop {node}({show(body)})"
        case Gate(_, awaits, behind) | Block("gate", _, (behind,), awaits):
            return f"gate {' & '.join(awaits)}({show(behind)})"
        case Chain(nodes):
            return f"chain({', '.join(nodes)})"
    raise AssertionError(f"not a region: {region!r}")


def node(name: str, kind: str = "transform", **more: Any) -> Node:
    """One node alone, with the least config that its type takes."""
    return Node(**{"id": name, "type": kind, "config": _CONFIGS.get(kind, {}), **more})
