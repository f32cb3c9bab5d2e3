"""Every command of the README runs, in the order in which a reader types them, and says what the README shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.pages import PROJECT, make_targets, tracked_entries
from tests.stack.conftest import LocalStack

README = (PROJECT / "README.md").read_text(encoding="utf-8")

_FENCED = re.compile(r"(?:<!-- run: no, (?P<why>[^>]+) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
_END = "\x1eend of block"
_PASSING = [  # what differs from one time to the next -> what is compared in its place
    (re.compile(r"\b(wf|exec|conn|node|key|req)_[0-9a-z]{16}\b"), r"\1_id"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "time"),
    (re.compile(r'("durationMs": ?)\d+'), r"\g<1>0"),
    (re.compile(r'("lambdaMilliseconds": ?)\d+,\s*"priceUsd": ?[0-9.e-]+'), r"\g<1>0"),
]


@dataclass(frozen=True)
class Block:
    script: str
    shown: str | None  # what it prints, as the README has it
    kind: str  # of what is shown: json or text
    why_not: str | None  # why no test runs it


def blocks() -> Iterator[Block]:
    found = list(_FENCED.finditer(README))
    for index, match in enumerate(found):
        if match["kind"] != "sh":
            continue
        following = found[index + 1] if index + 1 < len(found) else None
        follows = following is not None and following["kind"] != "sh" and following.start() == match.end() + 1
        shown = following if follows else None
        yield Block(match["text"], shown and shown["text"], shown["kind"] if shown else "", match["why"])


def masked(text: str) -> str:
    for pattern, word in _PASSING:
        text = pattern.sub(word, text)
    return text


def comparable(text: str, kind: str) -> object:
    """JSON by its value, other text by its words; ids and times alike."""
    if kind == "json":
        return json.loads(masked(text))
    return [line.split() for line in masked(text).strip().splitlines()]


@pytest.fixture
def checkout(tmp_path: Path, local_stack: LocalStack) -> Path:
    """A folder in which the README's relative paths lead where they should: the stack in it is the test's."""
    (tmp_path / ".millrace").symlink_to(local_stack.home.root)
    return tmp_path


@pytest.mark.stack
def test_commands_do_what_the_readme_shows(checkout: Path) -> None:
    """In one shell that stops at the first failure, each block prints what stands below it."""
    told = [block for block in blocks() if block.why_not is None]
    assert len(told) > 4
    script = "set -eu\n" + "".join(f"{block.script}\nprintf '%s\\n' '{_END}'\n" for block in told)
    environ = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(checkout),
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        ["sh", "-c", script], cwd=checkout, env=environ, capture_output=True, text=True, timeout=180, check=False
    )
    printed = done.stdout.split(f"{_END}\n")
    assert done.returncode == 0, f"after block {len(printed) - 1}: {printed[-1]}{done.stderr}"
    for block, output in zip(told, printed, strict=False):
        if block.shown is not None:
            assert comparable(output, block.kind) == comparable(block.shown, block.kind), block.script


def test_what_is_not_run_is_there() -> None:
    """Commands that a test cannot run are targets of the Makefile, or modules with those options."""
    lines = [line for block in blocks() if block.why_not for line in block.script.splitlines()]
    assert lines
    for line in lines:
        words = line.partition("#")[0].split()
        if words[0] == "make":
            assert words[1] in make_targets()
        else:
            assert words[:2] == [".venv/bin/python", "-m"]
            help_text = subprocess.run(
                [sys.executable, "-m", words[2], "--help"], cwd=PROJECT, capture_output=True, text=True, check=True
            ).stdout
            assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--\w+", help_text))


def test_every_entry_of_the_checkout_is_explained() -> None:
    """The table of entries names what git holds at the top level, hidden files aside, and nothing else."""
    table = README.partition("## Where things are")[2].partition("\n\nTo read on")[0]
    told = {name.rstrip("/") for name in re.findall(r"^\| `([^`]+)` \|", table, re.M)}
    assert told == tracked_entries() - {"README.md"}


def test_every_target_is_documented() -> None:
    """Each target of the Makefile stands in the README or in docs/local-stack.md, as `make <target>`."""
    pages = README + (PROJECT / "docs" / "local-stack.md").read_text(encoding="utf-8")
    missing = {target for target in make_targets() if not re.search(rf"\bmake {target}\b", pages)}
    assert not missing
