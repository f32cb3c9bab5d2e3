"""What the pages say of settings, commands, templates and each other is so."""

from __future__ import annotations

import ast
import doctest
import importlib
import json
import os
import pkgutil
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chalicelib
import infra
from chalicelib.api.workflows.mapping import graph_of
from chalicelib.api.workflows.schemas import DefinitionBody
from chalicelib.compiler.pipeline import compile_plan
from chalicelib.compiler.plan import region_to_json
from chalicelib.foundation import expressions
from chalicelib.foundation.settings import Settings
from chalicelib.nodes.registry import CATALOG
from chalicelib.store import keys
from infra.deploy import base_template
from infra.environment import function_environment
from infra.runtimes import RUNTIMES
from tests.compiler.golden import emitted
from tests.docs.pages import DOCS, PROJECT, page, words

PAGES = sorted([*PROJECT.glob("*.md"), *DOCS.rglob("*.md"), *(PROJECT / "examples").rglob("*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class _Recording(dict[str, str]):
    """An environment that has every variable, and knows which were asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def __missing__(self, name: str) -> str:
        self.asked.add(name)
        return "1" if name.endswith(("_DAYS", "_RATE", "_RUNS")) else "arn:aws:iam::123456789012:role/x"

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return default


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link names a file of the checkout, and where it has a fragment, a heading of that page."""
    for link in _LINK.findall(path.read_text(encoding="utf-8")):
        if link.startswith(("https://", "http://")):
            continue
        name, _, fragment = link.partition("#")
        target = path.parent / name if name else path
        assert target.exists(), link
        if fragment:
            assert fragment in anchors(target.read_text(encoding="utf-8")), link


def anchors(text: str) -> set[str]:
    """The fragments that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_can_be_reached() -> None:
    """From the README, one page leads to each page in docs/; a folder leads to what is in it."""
    seen: set[Path] = set()
    queue = [PROJECT / "README.md"]
    while queue:
        path = queue.pop().resolve()
        if path in seen:
            continue
        seen.add(path)
        if path.is_dir():
            queue += path.glob("*.md")
        elif path.suffix == ".md":
            links = _LINK.findall(path.read_text(encoding="utf-8"))
            queue += [path.parent / link.partition("#")[0] for link in links if "://" not in link and link[0] != "#"]
    assert set(DOCS.rglob("*.md")) <= seen


def test_every_setting_is_documented() -> None:
    """What Settings reads, and what the deployment sets besides, stands in docs/deploy.md."""
    environ = _Recording()
    Settings.from_environment(environ)
    assert len(environ.asked) > 8
    outputs = _Recording()
    assert environ.asked | set(function_environment("local", outputs)) <= words(page("deploy.md"))


def test_every_variable_of_ours_is_documented() -> None:
    """No MILLRACE_* variable is read anywhere without a word on it."""
    used = {
        name
        for folder, files in (("chalicelib", "*.py"), ("infra", "*.py"), ("examples", "*.py"), ("tests", "clusters.py"))
        for path in (PROJECT / folder).rglob(files)
        for name in re.findall(r'"(MILLRACE_[A-Z_]*[A-Z])"', path.read_text(encoding="utf-8"))
    }
    told = set(re.findall(r"MILLRACE_[A-Z_]*[A-Z]", page("deploy.md") + page("local-stack.md")))
    assert used == told


def test_every_parameter_and_function_of_the_templates_is_documented() -> None:
    """Parameters of infra/template.yaml with their defaults, and the functions, stand in docs/deploy.md."""
    text = page("deploy.md")
    for name, parameter in base_template()["Parameters"].items():
        default = parameter.get("Default")
        assert re.search(
            rf"^\| `{name}` \| {f'`{default}`' if default not in (None, '') else '(none)?'} ?\|", text, re.M
        )
    functions = json.loads((PROJECT / ".chalice" / "config.json").read_text())["lambda_functions"]
    assert set(functions) <= words(text)


def test_table_of_runtimes_is_the_one_that_deploy_checks() -> None:
    """Names and the three dates."""
    told = re.findall(r"^\| `(python[\d.]+)` \| (\S+) \| (\S+) \| (\S+) \|", page("deploy.md"), re.M)
    known = [(r.name, str(r.deprecated), str(r.no_create), str(r.no_update)) for r in RUNTIMES.values()]
    assert told == known


def test_every_repair_of_the_emulator_is_documented() -> None:
    """Each entry of infra/local/patches.py stands in docs/local-stack.md by its name, and no other."""
    tree = ast.parse((PROJECT / "infra" / "local" / "patches.py").read_text(encoding="utf-8"))
    table = page("local-stack.md").partition("## What is repaired")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", table, re.M)
    assert {word for cell in cells for word in words(cell)} == set(_repairs(tree))


def _repairs(tree: ast.Module) -> Iterator[str]:
    """Functions under ``_wraps(...)``, given to it, and named in a ``Patch``."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name, decorator_list=[ast.Call(func=ast.Name(id="_wraps"))]):
                yield name
            case ast.Call(func=ast.Call(func=ast.Name(id="_wraps")), args=[ast.Name(id=name)]):
                yield name
            case ast.Call(func=ast.Name(id="Patch"), args=[ast.Constant(value=str(name)), *_]):
                yield name


def test_stack_file_is_documented() -> None:
    """Each key that make up writes into stack.json stands in docs/local-stack.md."""
    source = (PROJECT / "infra" / "local" / "up.py").read_text(encoding="utf-8")
    written = re.findall(r'^        "(\w+)": ', source.partition("told = {")[2].partition("}\n")[0], re.M)
    assert len(written) > 8
    assert set(written) <= words(page("local-stack.md"))


def test_items_of_the_table_are_documented() -> None:
    """The table of items is that of store.keys, row for row."""
    told = re.findall(r"^\| [^|]+ \| `([A-Z]+#[^`]+)` \| `([^`]+)` \|", page("architecture.md"), re.M)
    known = re.findall(r"^\w.*? {2,}([A-Z]+#\S+(?: \S+)*?) {2,}(\S+(?: \S+)*?) {2,}", keys.__doc__ or "", re.M)
    assert told == known
    assert known


def test_layers_are_documented() -> None:
    """Each package of chalicelib has its row in the table of layers."""
    packages = {module.name for module in pkgutil.iter_modules(chalicelib.__path__)}
    table = page("architecture.md").partition("## Layers")[2].partition("\n## ")[0]
    assert packages == words(table.partition("\n\n`graph`")[0]) - {
        "chalicelib/__init__.py",
        "make check",
        "engines.step",
    }


def test_worked_example_of_the_compiler_is_what_comes_out() -> None:
    """The graph of docs/architecture.md gives the regions and the states that are shown below it."""
    graph_text, regions_text = re.findall(r"^```json\n(.*?)^```", page("architecture.md"), re.M | re.S)
    states_text = re.findall(r"^```text\n(.*?)^```", page("architecture.md"), re.M | re.S)[0]
    plan = compile_plan(graph_of(DefinitionBody.model_validate(json.loads(graph_text))), CATALOG)
    assert region_to_json(plan.root) == json.loads(regions_text)
    states = json.loads(emitted(plan).text)["States"]
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in states_text.splitlines()}
    assert told == {name: _said(state) for name, state in states.items()}


def _said(state: dict[str, Any]) -> str:
    after = f"then {state['Next']}" if "Next" in state else "end"
    match state["Type"]:
        case "Parallel":
            return f"Parallel {' | '.join(branch['StartAt'] for branch in state['Branches'])}, {after}"
        case "Choice":
            (rule,) = state["Choices"]
            port = rule["Condition"].split("'")[1]
            return f"Choice {port}: {rule['Next']}, else {state['Default']}"
        case kind:
            return f"{kind} {after}"


def test_picture_is_well_formed_and_says_what_it_shows() -> None:
    """The SVG has a title and a description for those who cannot see it, and colours for both modes."""
    text = (DOCS / "architecture.svg").read_text(encoding="utf-8")
    root = ElementTree.fromstring(text)
    assert [root.find(f"{{http://www.w3.org/2000/svg}}{tag}") is not None for tag in ("title", "desc")] == [True, True]
    assert "prefers-color-scheme: dark" in text


def test_decisions_have_their_parts() -> None:
    """Each is numbered without a gap and says what was decided and why."""
    found = sorted((DOCS / "decisions").glob("*.md"))
    assert [path.name[:4] for path in found] == [f"{number:04}" for number in range(1, len(found) + 1)]
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]} ")
        assert "**Decision.**" in text


#: Its insides read the environment and open files when they are imported.
EMULATOR = {"infra.local.emulator", "infra.local.patches"}


def test_examples_in_docstrings_hold() -> None:
    """What a docstring of any module shows with >>> is what comes out."""
    for package in (chalicelib, infra):
        for _, name, _ in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if name not in EMULATOR:
                assert doctest.testmod(importlib.import_module(name)).failed == 0, name


def test_examples_of_expressions_hold() -> None:
    """In the docstring of the package each line `call   # result` is true."""
    shown = re.findall(r"^    (\S.*?) +# (.+)$", expressions.__doc__ or "", re.M)
    assert len(shown) > 1
    for call, result in shown:
        assert eval(call, vars(expressions)) == eval(result), call


def test_pages_name_no_absolute_path() -> None:
    """Nothing of the machine on which a page was written is left in it."""
    home = os.path.expanduser("~")
    for path in PAGES:
        assert not re.search(rf"(?<![\w.])(/tmp/|/home/|{re.escape(home)}/)", path.read_text(encoding="utf-8")), path
