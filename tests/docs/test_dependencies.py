"""What the code needs is pinned, and each pin has its reason in docs/decisions/0006."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

from tests.docs.pages import PROJECT, page

#: Chalice's packager puts the runtime part of itself into the archive.
PACKAGED_BY_ITSELF = "chalice"
#: Given by Python itself or by the checkout.
AT_HAND = sys.stdlib_module_names | {"chalicelib"}


def pinned(name: str) -> set[str]:
    lines = (PROJECT / name).read_text(encoding="utf-8").splitlines()
    return {re.split(r"[=; ]", line, maxsplit=1)[0].lower() for line in lines if line}


def imported(folder: str, but: str | None = None) -> set[str]:
    """What the modules below a folder import, those below ``but`` aside."""
    found: set[str] = set()
    for path in (PROJECT / folder).rglob("*.py"):
        if but is not None and (PROJECT / but) in path.parents:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - AT_HAND - {PACKAGED_BY_ITSELF}


def test_lambda_carries_what_its_code_imports() -> None:
    """Every package that chalicelib imports is in requirements.txt: in Lambda there is nothing else."""
    needed = distributions(imported("chalicelib", but="chalicelib/pod"))
    assert "pydantic" in needed
    assert needed <= pinned("requirements.txt")


def test_the_pod_carries_what_its_code_imports() -> None:
    """The same of the pod's server and requirements-pod.txt, which has all of requirements.txt as well."""
    needed = distributions(imported("chalicelib/pod"))
    assert "starlette" in needed
    assert needed <= pinned("requirements-pod.txt")
    assert pinned("requirements.txt") <= pinned("requirements-pod.txt")
    assert "chalice" not in pinned("requirements-pod.txt")


def distributions(modules: set[str]) -> set[str]:
    known = packages_distributions()
    return {known[module][0].lower().replace("_", "-") for module in modules}


def test_every_direct_dependency_has_its_reason() -> None:
    """docs/decisions/0006 names each package that pyproject.toml asks for, and no other in its tables."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    asked = {pin.partition("==")[0] for pin in [*project["project"]["dependencies"], *groups["pod"], *groups["dev"]]}
    told = set(re.findall(r"^\| `([a-zA-Z0-9-]+)` \|", page("decisions/0006-dependencies.md"), re.M))
    assert told == asked
