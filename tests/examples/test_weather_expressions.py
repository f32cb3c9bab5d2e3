"""The weather workflow's expressions, evaluated for real over the real file, against the same sums in plain Python."""

from __future__ import annotations

import csv
from collections import defaultdict
from itertools import groupby
from typing import Any

import pytest
from jsonata import Jsonata

from tests.examples.runs_at_hand import WEATHER, weather_workflow

Row = dict[str, str]
BUDGET = (
    2.0  # seconds of processor time; each takes a quarter of it on a slow laptop, and a quadratic one many times it
)


def expression(node_id: str, field: str = "expression") -> str:
    return next(str(node["config"][field]) for node in weather_workflow()["nodes"] if node["id"] == node_id)


def evaluate(node_id: str, data: object, **names: object) -> Any:
    return Jsonata(expression(node_id)).evaluate({"data": data, **names})


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """The file as csv-parse gives it: every value is text."""
    with (WEATHER / "seattle-weather.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def summary(rows: list[Row]) -> dict[str, Any]:
    return {**evaluate("months", rows), **evaluate("years", rows)}


def test_months_are_those_of_python(rows: list[Row], summary: dict[str, Any]) -> None:
    """Twelve months in their order, each summed up over the four years."""
    by_month: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_month[row["date"][5:7]].append(row)

    assert [month["month"] for month in summary["months"]] == sorted(by_month)
    for month in summary["months"]:
        days = by_month[month["month"]]
        assert month["days"] == len(days)
        assert month["wetDays"] == sum(float(day["precipitation"]) > 0 for day in days)
        assert month["meanHigh"] == pytest.approx(sum(float(day["temp_max"]) for day in days) / len(days), abs=0.051)
        assert month["meanLow"] == pytest.approx(sum(float(day["temp_min"]) for day in days) / len(days), abs=0.051)
        assert month["rain"] == pytest.approx(sum(float(day["precipitation"]) for day in days), abs=0.051)


def test_years_are_those_of_python(rows: list[Row], summary: dict[str, Any]) -> None:
    """For each year the first of its hottest, coldest and wettest days."""
    expected = []
    for year, group in groupby(rows, key=lambda row: row["date"][:4]):
        days = list(group)
        hottest = max(days, key=lambda day: float(day["temp_max"]))
        coldest = min(days, key=lambda day: float(day["temp_min"]))
        wettest = max(days, key=lambda day: float(day["precipitation"]))
        expected.append(
            {
                "year": year,
                "hottest": {"date": hottest["date"], "celsius": float(hottest["temp_max"])},
                "coldest": {"date": coldest["date"], "celsius": float(coldest["temp_min"])},
                "wettest": {"date": wettest["date"], "millimetres": float(wettest["precipitation"])},
            }
        )
    assert summary["years"] == expected
    assert len(expected) == 4


@pytest.mark.parametrize(
    ("change", "usable"),
    [
        ({}, True),
        ({"temp_max": "-3.0", "temp_min": "-5.5"}, True),
        ({"temp_max": "0.0", "temp_min": "0.0", "precipitation": "0.0"}, True),
        ({"temp_max": ""}, False),
        ({"temp_min": ""}, False),
        ({"precipitation": ""}, False),
        ({"temp_max": "3.0", "temp_min": "9.0"}, False),  # the thermometers were mixed up
    ],
)
def test_filter_keeps_usable_days_only(rows: list[Row], change: Row, usable: bool) -> None:
    """A day with a gap, or whose highest temperature lies below its lowest, is dropped."""
    condition = Jsonata(expression("usable", "condition"))
    assert condition.evaluate({"item": rows[0] | change}) is usable


def test_every_day_of_the_file_is_usable(rows: list[Row]) -> None:
    """Nothing of the real file is lost: 1,461 days, as four years have."""
    condition = Jsonata(expression("usable", "condition"))
    assert sum(condition.evaluate({"item": row}) for row in rows) == len(rows) == 1461


def test_a_day_with_a_gap_does_not_break_the_extremes(rows: list[Row], summary: dict[str, Any]) -> None:
    """The branch of the extremes does not pass the filter: it looks after itself."""
    gap = rows[0] | {"temp_max": "", "precipitation": ""}
    assert evaluate("years", [gap, *rows]) == {"years": summary["years"]}


@pytest.mark.parametrize(("threshold", "exceeded"), [(35, True), (35.6, False), (40, False)])
def test_condition_asks_whether_any_day_was_hotter(summary: dict[str, Any], threshold: float, exceeded: bool) -> None:
    """35.6 °C was the hottest day: hotter than 35, not hotter than itself."""
    assert evaluate("hot", summary, trigger={"threshold": threshold}) is exceeded


def test_report_is_markdown_with_every_month_and_year(summary: dict[str, Any]) -> None:
    """One table row for each of twelve months and four years, in figures with one decimal."""
    report = evaluate("report", summary, trigger={"threshold": 35})

    assert report.startswith("# Seattle weather, 2012 to 2015\n\nThe hottest day reached 35.6 °C, more than the 35 °C")
    assert "| January | 8.2 | 2.7 | 466.0 | 66 of 124 |\n| February |" in report
    assert "| 2014 | 35.6 °C on 2014-08-11 | -6.0 °C on 2014-02-06 | 46.7 mm on 2014-03-05 |\n" in report
    assert sum(line.startswith("| ") for line in report.splitlines()) == 2 + 12 + 2 + 4
    assert report.endswith(" |\n")
