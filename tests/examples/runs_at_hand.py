"""Answers of the API, made up: what a run of an example might have looked like."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
WEATHER = EXAMPLES / "weather"
SMALL = sorted(EXAMPLES.glob("*.json"))

START = datetime(2026, 3, 25, 10, 0, 0, tzinfo=UTC)


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def task(node_id: str, started: float, finished: float | None, status: str = "SUCCESS", **more: Any) -> dict[str, Any]:
    return {
        "taskId": node_id,
        "status": status,
        "attempts": 1,
        "startedAt": at(started),
        "finishedAt": None if finished is None else at(finished),
        "outputs": "{}",
        "error": None,
    } | more


def skipped(node_id: str, when: float) -> dict[str, Any]:
    return task(node_id, when, when, "SKIPPED", startedAt=None, attempts=0)


def document(*tasks: dict[str, Any], status: str = "SUCCESS", seconds: float = 3, **more: Any) -> dict[str, Any]:
    ended = status in ("SUCCESS", "FAILED", "CANCELLED", "TIMED_OUT")
    execution = {
        "id": "exec_1",
        "status": status,
        "startedAt": at(0),
        "finishedAt": at(seconds) if ended else None,
        "durationMs": round(seconds * 1000) if ended else None,
        "output": None,
        "error": None,
    }
    return {"execution": execution | more, "tasks": list(tasks)}


def small_workflow(name: str) -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads((EXAMPLES / name).read_text(encoding="utf-8"))["workflow"]
    return workflow


def weather_workflow() -> dict[str, Any]:
    workflow: dict[str, Any] = json.loads((WEATHER / "workflow.json").read_text(encoding="utf-8"))
    return workflow


def weather_tasks() -> list[dict[str, Any]]:
    """A run in which the days were hot enough for a report."""
    return [
        task("start", 0.05, 0.06),
        task("read", 0.4, 0.62, attempts=2),
        task("parse", 0.63, 0.81),
        task("usable", 0.98, 1.45),
        task("years", 0.99, 1.5),
        task("months", 1.46, 1.83),
        task("summary", 2.0, 2.08),
        task("hot", 2.09, 2.12),
        task("report", 2.31, 2.4),
        skipped("mild", 2.2),
        task("save", 2.42, 2.61),
    ]
