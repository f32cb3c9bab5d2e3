"""Lists of workflows over HTTP: filters, search, order and pages, each with what it may not be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.client import Api

WORKFLOWS = "/api/v1/workflows"


@pytest.fixture
def made(api: Api) -> dict[str, str]:
    """Ids by name, oldest first."""
    found = {}
    made: dict[str, dict[str, Any]] = {
        "Daily ETL": {"tags": ["etl", "daily"], "description": "Extracts Orders"},
        "alpha": {"tags": ["etl"], "status": "paused"},
        "Beta": {"tags": ["Daily"], "status": "paused", "description": "ünïcode ☃"},
        "alpha beta": {"tags": []},
    }
    for name, fields in made.items():
        found[name] = api.post(WORKFLOWS, {"name": name, **fields}).json["workflowId"]
    return found


def names(api: Api, query: str) -> list[str]:
    page = api.get(f"{WORKFLOWS}?{query}").json
    assert page["count"] == len(page["workflows"])
    return [item["name"] for item in page["workflows"]]


def test_by_tag(api: Api, made: dict[str, str]) -> None:
    """Those that have it, letter by letter; newest first."""
    assert names(api, "tag=etl") == ["alpha", "Daily ETL"]
    assert names(api, "tag=daily") == ["Daily ETL"]
    assert names(api, "tag=Daily") == ["Beta"]
    assert names(api, "tag=none") == []
    assert names(api, "tag=etl&status=paused") == ["alpha"]
    api.put(f"{WORKFLOWS}/{made['alpha']}", {"tags": ["daily"]})
    assert names(api, "tag=etl") == ["Daily ETL"]
    assert names(api, "tag=daily") == ["alpha", "Daily ETL"]


@pytest.mark.parametrize("tag", ["a|b", "user#ann", "ü ☃", "100%", "a&b=c", "x" * 64, "#"])
def test_odd_tags(api: Api, made: dict[str, str], tag: str) -> None:
    """Whatever a tag is made of, it is found under itself and under nothing else."""
    api.put(f"{WORKFLOWS}/{made['Beta']}", {"tags": [tag]})
    assert names(api, f"tag={quote(tag, safe='')}") == ["Beta"]
    assert names(api, f"tag={quote(tag[:-1] or 'x', safe='')}") == []


def test_search(api: Api, made: dict[str, str]) -> None:
    """In name or description, without regard to case; with the other filters."""
    assert names(api, "search=ALPHA") == ["alpha beta", "alpha"]
    assert names(api, "search=orders") == ["Daily ETL"]
    assert names(api, f"search={quote('ÜNÏ')}") == ["Beta"]
    assert names(api, "search=a&status=paused") == ["Beta", "alpha"]
    assert names(api, "search=a&tag=etl&sort=name") == ["alpha", "Daily ETL"]
    assert names(api, "search=.*") == []
    assert names(api, "search=") == ["alpha beta", "Beta", "alpha", "Daily ETL"]
    page = api.get(f"{WORKFLOWS}?search=a&limit=1&offset=1").json
    assert (page["count"], [item["name"] for item in page["workflows"]]) == (4, ["Beta"])


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("name", ["alpha", "alpha beta", "Beta", "Daily ETL"]),
        ("name:asc", ["alpha", "alpha beta", "Beta", "Daily ETL"]),
        ("name:desc", ["Daily ETL", "Beta", "alpha beta", "alpha"]),
        ("createdAt", ["Daily ETL", "alpha", "Beta", "alpha beta"]),
        ("createdAt:asc", ["Daily ETL", "alpha", "Beta", "alpha beta"]),
        ("createdAt:desc", ["alpha beta", "Beta", "alpha", "Daily ETL"]),
        ("updatedAt:desc", ["Daily ETL", "alpha beta", "Beta", "alpha"]),
        ("updatedAt:asc", ["alpha", "Beta", "alpha beta", "Daily ETL"]),
    ],
)
def test_order(api: Api, made: dict[str, str], client_of: Callable[..., Api], sort: str, expected: list[str]) -> None:
    """By the field, upwards unless said otherwise; the same for an administrator, and with a status or a tag."""
    api.put(f"{WORKFLOWS}/{made['Daily ETL']}", {"description": "changed"})
    assert names(api, f"sort={sort}") == expected
    assert names(client_of("root", "workflows:read", "workflows:admin"), f"sort={sort}") == expected
    paused = [name for name in expected if name in ("alpha", "Beta")]
    assert names(api, f"sort={sort}&status=paused") == paused
    tagged = [name for name in expected if name in ("Daily ETL", "alpha")]
    assert names(api, f"sort={sort}&tag=etl") == tagged
    pages = [api.get(f"{WORKFLOWS}?sort={sort}&limit=1&offset={offset}").json["workflows"] for offset in range(5)]
    assert [item["name"] for page in pages for item in page] == expected


@pytest.mark.parametrize("sort", ["", "age", "name:up", "name:", ":desc", "NAME", "name:desc:asc", "createdAt desc"])
def test_an_order_that_there_is_not(api: Api, sort: str) -> None:
    """400, together with whatever else is wrong."""
    answer = api.get(f"{WORKFLOWS}?sort={quote(sort)}&limit=0&status=on")
    assert answer.status == 400
    assert {fault["path"] for fault in answer.json["errors"]} == {"sort", "limit", "status"}


def test_lists_show_what_is_true_now(api: Api, made: dict[str, str], client_of: Callable[..., Api]) -> None:
    """Every kind of change is in the very next list: name, tags, status, publicity, sharing, deletion."""
    path = f"{WORKFLOWS}/{made['alpha']}"
    bob = client_of("bob")
    changed: dict[str, Any] = {"name": "gamma", "tags": ["new"], "description": "d", "isPublic": True}
    api.put(path, changed)
    (entry,) = api.get(f"{WORKFLOWS}?tag=new").json["workflows"]
    assert {name: entry[name] for name in changed} == changed
    assert names(bob, "tag=new") == ["gamma"]
    assert names(bob, "") == ["gamma"]
    api.post(f"{path}/share", {"userId": "bob"})
    assert names(bob, "") == ["gamma"]
    api.put(path, {"isPublic": False})
    assert names(bob, "") == ["gamma"]
    api.delete(f"{path}/share/bob")
    assert names(bob, "") == []
    api.put(f"{path}/status", {"status": "archived"})
    assert names(api, "status=archived") == ["gamma"]
    assert names(api, "status=paused") == ["Beta"]
    api.delete(path)
    assert names(api, "tag=new") == names(api, "status=archived") == names(api, "search=gamma") == []
