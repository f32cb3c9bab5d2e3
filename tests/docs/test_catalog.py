"""docs/catalog.md tells every node type as the registry has it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from pydantic_core import PydanticUndefined

from chalicelib.nodes.registry import CATALOG
from chalicelib.nodes.spec import NodeType
from tests.docs.pages import PROJECT, page, sections, words

PAGE = page("catalog.md")
SECTIONS = sections(PAGE, 3)
TYPES = [pytest.param(kind, id=kind.name) for kind in CATALOG]

#: Raised to the engine, never shown as the error of a node.
_OF_THE_MACHINERY = {"RunEnded", "RunPaused", "RunSuperseded", "RunTimedOut", "Overtaken", "NotEntered"}


def test_every_type_has_its_section_and_no_other() -> None:
    """Third-level headings are the names of the catalog."""
    assert set(SECTIONS) == {kind.name for kind in CATALOG}


@pytest.mark.parametrize("kind", TYPES)
def test_config_table_is_the_config_model(kind: NodeType) -> None:
    """Each key stands in the table, as required or with its default, and no key that is not there."""
    table = SECTIONS[kind.name].partition("| config |")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.M)) == dict(_keys(kind))


def _keys(kind: NodeType) -> Iterator[tuple[str, str]]:
    for name, info in kind.config_model.model_fields.items():
        default = info.get_default(call_default_factory=True, validated_data={})
        required = info.is_required() or default is PydanticUndefined
        yield info.alias or name, "required" if required else f"`{json.dumps(default)}`"


@pytest.mark.parametrize("kind", TYPES)
def test_expressions_are_marked(kind: NodeType) -> None:
    """A key is marked as an expression if and only if it is one."""
    told = re.findall(r"^\| `(\w+)` \| [^|]+ \| \*expression\*", SECTIONS[kind.name], re.M)
    assert set(told) == kind.expression_fields


@pytest.mark.parametrize("kind", TYPES)
def test_ports_are_told(kind: NodeType) -> None:
    """Ports in and out are those of the type; a switch has its cases and `default`."""
    text = " ".join(SECTIONS[kind.name].split())
    ins, outs = re.findall(r"Ports (?:in|out): (.+?)\.(?= |$)", text)
    assert words(ins) == set(kind.ports_in or ())
    assert ("any name" in ins) == (kind.ports_in is None)
    assert words(outs) == set(kind.ports_out({}))


def test_every_error_of_a_node_is_told() -> None:
    """Each name under which a handler, the facades or the sandbox fail stands on the page."""
    names: set[str] = set()
    for folder in ("nodes", "cloud", "sandbox", "engines"):
        for path in (PROJECT / "chalicelib" / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            names |= set(re.findall(r'\b(?:Permanent|Retryable|kind|ScriptError|failure)\(\s*"(\w+)"', text))
            names |= set(re.findall(r'^    "\w+": "([A-Z]\w+)",$', text, re.M))  # codes of the SDK in our words
    assert len(names) > 25
    assert names - _OF_THE_MACHINERY <= words(PAGE)
