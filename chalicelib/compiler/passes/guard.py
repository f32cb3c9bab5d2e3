"""Turns blocks into regions: what hangs from one port of a branching node runs only when that port is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalicelib.compiler.blocks import MAX_DEPTH, Block
from chalicelib.compiler.plan import Case, Choice, Gate, Loop, Parallel, Region, Series, Step
from chalicelib.graph.model import Connection


@dataclass(frozen=True)
class Guards:
    """What the pass has to know of a scope."""

    inbound: Mapping[str, Sequence[Connection]]  # by target
    branching: frozenset[str]  # nodes that may leave a port untaken
    loops: Mapping[str, Loop]  # the regions of loop nodes, made before


def guard(block: Block, guards: Guards, depth: int = 0) -> Region:
    """The region of a block, with a ``Choice`` wherever a branch is closed.

    A part is closed under port ``p`` of node ``c`` if all connections into it come from that port or from within: it is
    dead when ``c`` takes another port, so the state machine passes it by. Any other part is entered in every case, and
    each of its nodes finds out whether it is live. So it is too where choices would nest deeper than ``MAX_DEPTH``.

    Example: ``series(c, parallel(a, b), d)`` with ``a`` under ``true`` and ``b`` under ``false`` is
    ``series(c, choice(true: a, false: b), d)``.
    """
    match block.kind:
        case "node":
            return guards.loops.get(block.node) or Step(block.node)
        case "parallel":
            return Parallel(tuple(guard(part, guards, depth) for part in block.parts))
        case "gate":
            return Gate(block.node, block.awaits, guard(block.parts[0], guards, depth))
        case _:
            return _series(block.parts, guards, depth)


def _series(parts: Sequence[Block], guards: Guards, depth: int) -> Region:
    regions: list[Region] = []
    index = 0
    while index < len(parts):
        part = parts[index]
        regions.append(guard(part, guards, depth))
        index += 1
        if part.kind != "node" or part.node not in guards.branching or depth >= MAX_DEPTH:
            continue
        run, port = _closed_run(parts[index:], part.node, guards)
        if port is not None:
            regions.append(Choice(part.node, (Case(port, _series(run, guards, depth + 1)),)))
            index += len(run)
        elif (
            index < len(parts)
            and parts[index].kind == "parallel"
            and (fork := _fork(parts[index], part.node, guards, depth + 1))
        ):
            regions.append(fork)
            index += 1
    return regions[0] if len(regions) == 1 else Series(tuple(regions))


def _closed_run(parts: Sequence[Block], node: str, guards: Guards) -> tuple[Sequence[Block], str | None]:
    """As many of the parts as are closed under one port of ``node``, and that port."""
    members: set[str] = set()
    port: str | None = None
    for index, part in enumerate(parts):
        ports = _ports_into(part, node, members, guards)
        if ports is None or len(ports | {port} - {None}) != 1:
            return parts[:index], port
        port = next(iter(ports), port)
        members.update(part.nodes())
    return parts, port


def _fork(block: Block, node: str, guards: Guards, depth: int) -> Region | None:
    """Parallel parts of which some are closed under different ports of ``node``; None if there are none."""
    closed: dict[str, list[Block]] = {}
    others: list[Block] = []
    for part in block.parts:
        ports = _ports_into(part, node, set(), guards)
        if ports is not None and len(ports) == 1:
            closed.setdefault(next(iter(ports)), []).append(part)
        else:
            others.append(part)
    if not closed:
        return None
    choice = Choice(node, tuple(Case(port, _side_by_side(blocks, guards, depth)) for port, blocks in closed.items()))
    return Parallel((choice, *(guard(part, guards, depth) for part in others))) if others else choice


def _side_by_side(blocks: Sequence[Block], guards: Guards, depth: int) -> Region:
    return guard(blocks[0] if len(blocks) == 1 else Block("parallel", parts=tuple(blocks)), guards, depth)


def _ports_into(block: Block, node: str, members: set[str], guards: Guards) -> set[str] | None:
    """The ports of ``node`` that lead into a block; None if anything besides them and ``members`` does."""
    inside = set(block.nodes())
    ports = set()
    for name in inside:
        for connection in guards.inbound.get(name, ()):
            if connection.source == node:
                ports.add(connection.source_port)
            elif connection.source not in inside and connection.source not in members:
                return None
    return ports
