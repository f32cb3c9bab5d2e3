"""The picture of a run: complete, the same every time, and with nothing on top of anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest

from examples.picture import draw
from examples.picture.chart import BAR_HEIGHT, round_step
from examples.picture.svg import COLOURS, text_width
from examples.runs import STATUSES, node_runs
from tests.examples.runs_at_hand import SMALL, document, skipped, small_workflow, task, weather_tasks, weather_workflow

SVG = "{http://www.w3.org/2000/svg}"
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


def failed_run() -> dict[str, Any]:
    error = {"name": "ExpressionError", "message": 'Unable to cast "<n/a>" to a number'}
    tasks = [
        *weather_tasks()[:3],
        task("usable", 0.98, 1.45, "FAILED", attempts=3, error=error),
        task("years", 0.99, None, "RUNNING"),
    ]
    return document(*tasks, status="FAILED")


def loop_run() -> dict[str, Any]:
    items = [
        task(f"{node}[{index}]", index * 2 + 0.5, index * 2 + 1.9) for node in ("sum", "label") for index in range(3)
    ]
    return document(task("start", 0, 0.1), task("each", 0.1, 9), *items, task("report", 9, 12), seconds=12.2)


def wide_graph(branches: int) -> dict[str, Any]:
    """A switch with many ways, some long, all of which end in one join; one line passes three layers."""
    ways = [f"case number {index}, a rather long one" for index in range(branches)]
    nodes = [
        node("switch", "A label that is far too long to be shown as it is"),
        node("a"),
        node("b"),
        node("日本語のラベル"),
    ]
    nodes += [node(way) for way in ways] + [node("join")]
    edges = [edge("switch", way, way) for way in ways] + [edge(way, "join") for way in ways]
    edges += [
        edge("switch", "join", "default"),
        edge("a", "b"),
        edge("b", "日本語のラベル"),
        edge("日本語のラベル", "join"),
    ]
    return {"name": "A wide graph & <more>" * 5, "nodes": nodes, "connections": edges}


def node(node_id: str, label: str = "") -> dict[str, Any]:
    return {"id": node_id, "nodeId": "transform", "label": label, "config": {}}


def edge(source: str, target: str, port: str = "output") -> dict[str, Any]:
    return {"sourceNodeId": source, "sourcePort": port, "targetNodeId": target}


RUNS = [
    pytest.param(weather_workflow(), document(*weather_tasks(), seconds=2.7), id="weather"),
    pytest.param(weather_workflow(), failed_run(), id="failed"),
    pytest.param(small_workflow("loop.json"), loop_run(), id="loop"),
    pytest.param(wide_graph(9), document(task("switch", 0, 100.5), skipped("a", 2), seconds=101), id="wide"),
    *(
        pytest.param(small_workflow(path.name), document(status="QUEUED", startedAt=None), id=f"queued {path.stem}")
        for path in SMALL
    ),
]


@dataclass(frozen=True)
class Shape:
    tag: str
    style: str
    place: Rectangle
    element: Element
    origin: tuple[float, float]  #: of the group in which it lies


def shapes(svg: str, tag: str, style: str = "") -> list[Shape]:
    """The elements of a kind, in the order in which they are painted, measured on the page."""

    def walk(element: Element, x: float, y: float) -> Iterator[Shape]:
        if moved := re.fullmatch(r"translate\((\S+) (\S+)\)", element.get("transform", "")):
            x, y = x + float(moved[1]), y + float(moved[2])
        yield Shape(element.tag.removeprefix(SVG), element.get("class", ""), measure(element, x, y), element, (x, y))
        for child in element:
            yield from walk(child, x, y)

    return [shape for shape in walk(fromstring(svg), 0, 0) if shape.tag == tag and style in ("", *shape.style.split())]


def measure(element: Element, x: float, y: float) -> Rectangle:
    left, top = float(element.get("x", 0)) + x, float(element.get("y", 0)) + y
    if element.tag == SVG + "rect":
        return left, top, left + float(element.get("width", 0)), top + float(element.get("height", 0))
    size = int(element.get("font-size", 0))
    width = text_width(element.text or "", size, bold="font-weight" in element.attrib)
    left -= {"start": 0.0, "middle": width / 2, "end": width}[element.get("text-anchor", "start")]
    return left, top - 0.8 * size, left + width, top + 0.2 * size


def overlap(one: Rectangle, other: Rectangle) -> bool:
    slack = 0.2  # coordinates are rounded
    return all(one[axis] + slack < other[axis + 2] and other[axis] + slack < one[axis + 2] for axis in (0, 1))


@pytest.mark.parametrize(("workflow", "run"), RUNS)
def test_no_text_lies_on_another(workflow: dict[str, Any], run: dict[str, Any]) -> None:
    """Whatever the labels, the ports and the times."""
    texts = shapes(draw(workflow, run), "text")
    assert len(texts) > len(workflow["nodes"]) * 3
    clashes = [(a.element.text, b.element.text) for a, b in combinations(texts, 2) if overlap(a.place, b.place)]
    assert clashes == []


@pytest.mark.parametrize(("workflow", "run"), RUNS)
def test_boxes_stand_apart_and_on_the_page(workflow: dict[str, Any], run: dict[str, Any]) -> None:
    """A box for each node; none touches another; everything lies on the page."""
    svg = draw(workflow, run)
    boxes = [box.place for box in shapes(svg, "rect", "box")]
    assert len(boxes) == len(workflow["nodes"])
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]

    [page] = shapes(svg, "rect", "page")
    for shape in shapes(svg, "rect") + shapes(svg, "text"):
        left, top, right, bottom = shape.place
        assert min(left, top) >= 0
        assert right <= page.place[2]
        assert bottom <= page.place[3]


@pytest.mark.parametrize(("workflow", "run"), RUNS)
def test_lines_run_between_the_boxes(workflow: dict[str, Any], run: dict[str, Any]) -> None:
    """Where a line passes a layer it keeps clear of what stands there."""
    svg = draw(workflow, run)
    lines = shapes(svg, "path", "edge")
    assert len(lines) == len(workflow["connections"])
    for line in lines:
        x, y = line.origin
        for left, level, right in re.findall(r"([\d.]+) ([\d.]+) H([\d.]+)", line.element.get("d", "")):
            passing = float(left) + x, float(level) + y - 1, float(right) + x, float(level) + y + 1
            assert not any(overlap(passing, box.place) for box in shapes(svg, "rect", "box"))


def test_a_chain_is_straight() -> None:
    """Nodes that simply follow each other stand on one level, also behind a fork."""
    boxes = shapes(draw(weather_workflow(), document(*weather_tasks())), "rect", "box")
    top = {run.id: box.place[1] for run, box in zip(node_runs(weather_workflow(), document()), boxes, strict=True)}
    assert top["start"] == top["read"] == top["parse"] == top["summary"] == top["hot"]
    assert top["usable"] == top["months"] < top["years"]
    assert top["report"] == top["save"] < top["mild"]


def test_bars_tell_status_and_time() -> None:
    """A bar for each stretch of work, in the colour of its status and as long as its time; skipped nodes have none."""
    drawn = shapes(draw(weather_workflow(), failed_run()), "rect")
    bars = [shape for shape in drawn if shape.element.get("height") == f"{BAR_HEIGHT}"]
    lengths = [bar.place[2] - bar.place[0] for bar in bars]
    assert [bar.style for bar in bars] == ["SUCCESS", "SUCCESS", "SUCCESS", "FAILED", "RUNNING"]
    assert lengths[3] / lengths[1] == pytest.approx(0.47 / 0.22, rel=0.01)
    assert bars[3].element[0].text == "Usable days: 0.98 s after the start"


def test_the_picture_says_what_failed() -> None:
    """The error stands where the pointer rests, marked up safely; attempts stand behind the bar."""
    svg = draw(weather_workflow(), failed_run())
    assert 'ExpressionError: Unable to cast "&lt;n/a&gt;" to a number' in svg
    assert ">0.47 s, 3 attempts, failed<" in svg


def test_lines_to_what_was_skipped_are_dashed() -> None:
    """One of two ways was not taken."""
    svg = draw(weather_workflow(), document(*weather_tasks()))
    assert svg.count('class="edge dead"') == 1
    assert svg.count('class="edge"') == 10


def test_the_same_run_gives_the_same_bytes() -> None:
    """Also when the API lists the tasks in another order."""
    run, turned = document(*weather_tasks()), document(*reversed(weather_tasks()))
    assert draw(weather_workflow(), run) == draw(weather_workflow(), turned)


def test_odd_characters_stay_xml() -> None:
    """Labels may hold what XML has no way to say."""
    workflow = {"name": "N\x00ame", "nodes": [node("a", "A\x07 <b> & \ud800")], "connections": []}
    assert "A  &lt;b&gt; &amp;" in draw(workflow, document(task("a", 0, 1)))


def test_every_status_has_a_colour_for_day_and_night() -> None:
    """Also in the style sheet, once outside the media query and once in it."""
    svg = draw(weather_workflow(), document())
    assert set(COLOURS) == set(STATUSES)
    for status in STATUSES:
        assert svg.count(f".{status} {{ fill: ") == 2


@pytest.mark.parametrize(("total", "step"), [(0.001, 0.001), (0.5, 0.1), (2.7, 0.5), (8, 1), (12.2, 2), (3600, 500)])
def test_ticks_are_round(total: float, step: float) -> None:
    """At most eight parts, of 1, 2 or 5 times a power of ten."""
    assert round_step(total) == pytest.approx(step)
