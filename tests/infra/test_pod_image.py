"""infra/pod/Dockerfile: what can be known of an image without building it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

import pytest

from chalicelib.cloud.manifests import PodOptions, manifests
from chalicelib.graph.deployments import POD_PORT, Deployed
from infra.packaging import PROJECT

FOLDER = PROJECT / "infra" / "pod"


def instructions() -> Iterator[tuple[str, str]]:
    """Each instruction with its words; what is continued is one."""
    text = re.sub(r"\\\n", " ", (FOLDER / "Dockerfile").read_text())
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            yield name, rest.strip()


INSTRUCTIONS = list(instructions())


def of(name: str) -> list[str]:
    return [rest for found, rest in INSTRUCTIONS if found == name]


def test_what_it_copies_is_there() -> None:
    """And the ignore file lets all of it through."""
    copied = [words.split()[0] for words in of("COPY") if not words.startswith("--from")]
    assert copied == ["requirements-pod.txt", "chalicelib", "stepfn_templates"]
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "*"
    for name in copied:
        assert (PROJECT / name).exists()
        assert f"!{name}" in ignored


def test_it_leaves_out_the_edges_that_need_chalice() -> None:
    """Which nothing below them imports."""
    left_out = [line for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if "chalicelib/" in line]
    assert left_out == ["chalicelib/api", "chalicelib/events"]
    assert not re.search(r"^chalice==", (PROJECT / "requirements-pod.txt").read_text(), re.M)


def test_its_python_is_pinned_and_one_of_ours() -> None:
    """By its patch release, alike in both stages, within what the project supports."""
    bases = {words.split()[0] for words in of("FROM")}
    assert len(of("FROM")) == 2
    (base,) = bases
    match = re.fullmatch(r"python:(\d+)\.(\d+)\.\d+-slim-\w+", base)
    assert match is not None
    version = (int(match[1]), int(match[2]))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lowest, highest = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()  # type: ignore[union-attr]
    assert (3, int(lowest)) <= version < (3, int(highest))


@pytest.fixture
def container() -> dict[str, object]:
    deployed = Deployed("acme", "wf_1", "ann", 1, 1, "a" * 64)
    template = manifests(deployed, 1, PodOptions(namespace="n", image="i", stage="s"))[-1]["spec"]["template"]["spec"]
    return {**template["containers"][0], "user": template["securityContext"]["runAsUser"]}


def test_it_runs_as_the_user_of_the_manifest(container: dict[str, object]) -> None:
    """By number, as runAsNonRoot cannot judge a name; it is the last word on who."""
    assert of("USER") == [f"{container['user']}:{container['user']}"]
    last_run = max(index for index, (name, _) in enumerate(INSTRUCTIONS) if name == "RUN")
    assert INSTRUCTIONS.index(("USER", of("USER")[0])) > last_run


def test_it_runs_the_pod_server_on_its_port() -> None:
    """As its first process, which gets SIGTERM itself: no shell in between."""
    assert of("ENTRYPOINT") == ['["python", "-m", "chalicelib.pod"]']
    assert of("EXPOSE") == [str(POD_PORT)]
    assert (PROJECT / "chalicelib" / "pod" / "__main__.py").exists()
    assert of("CMD") == of("HEALTHCHECK") == []


def test_what_it_leaves_out_of_the_requirements_is_there_by_that_name() -> None:
    """The line that is left out: else the image would carry 70 MB for nothing."""
    assert 'grep -v "^kubernetes=="' in of("RUN")[0]
    assert re.search(r"^kubernetes==", (PROJECT / "requirements-pod.txt").read_text(), re.M)
