"""Writes that stand in one transaction with those of others, as if each stood alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import wait
from typing import Any

import pytest

from chalicelib.foundation.errors import Downstream
from chalicelib.store.group_commit import GroupCommit
from chalicelib.store.table import ABSENT, ConditionFailed, Refused, Table, Write, put
from tests.conftest import TABLE
from tests.fakes import watched


def item(name: str, **fields: Any) -> dict[str, Any]:
    return {"pk": name, "sk": "x", **fields}


@pytest.fixture
def table(dynamodb: Any) -> Table:
    return Table(dynamodb, TABLE)


@pytest.fixture
def held(table: Table) -> Iterator[tuple[GroupCommit, threading.Event]]:
    """A committer with one thread, whose first call lasts until the event is set."""
    let_go, entered = threading.Event(), threading.Event()

    class Held(Table):
        def write(self, write: Write) -> Any:
            if write.key["pk"] == "first":
                entered.set()
                assert let_go.wait(20)
            return super().write(write)

    commits = GroupCommit(Held(table._client, TABLE), threads=1)
    first = commits.submit([put(item("first"))])
    assert entered.wait(20)
    yield commits, let_go
    let_go.set()
    commits.close()
    assert first.done()


def test_what_comes_meanwhile_goes_together(held: tuple[GroupCommit, threading.Event], dynamodb: Any) -> None:
    """While a call is under way everybody else waits; then all of them are one transaction."""
    commits, let_go = held
    with watched(dynamodb) as calls:
        asked = [commits.submit([put(item(f"{n}"), ABSENT), put(item(f"{n}b"))]) for n in range(20)]
        let_go.set()
        wait(asked, 20)
    assert calls.operations == ["PutItem", "TransactWriteItems"]
    assert [each.exception() for each in asked] == [None] * 20
    assert (commits.commits, commits.calls) == (21, 2)


def test_one_that_is_refused_takes_nobody_with_it(
    held: tuple[GroupCommit, threading.Event], dynamodb: Any, table: Table
) -> None:
    """Where a condition does not hold, the others are written, and who asked hears of their own write by its index."""
    commits, let_go = held
    table.write(put(item("taken", by="somebody")))
    asked = [
        commits.submit([put(item("a"), ABSENT), put(item("b"))]),
        commits.submit([put(item("c")), put(item("taken"), ABSENT)]),
        commits.submit([put(item("d"), ABSENT)]),
    ]
    let_go.set()
    wait(asked, 20)
    refused = asked[1].exception()
    assert isinstance(refused, ConditionFailed)
    assert (refused.index, (refused.old or {})["by"]) == (1, "somebody")
    assert [each.exception() for each in (asked[0], asked[2])] == [None, None]
    found = {name for name in "abcd" if table.get({"pk": name, "sk": "x"})}
    assert found == {"a", "b", "d"}


def test_one_that_dynamodb_does_not_take_takes_nobody_with_it(
    held: tuple[GroupCommit, threading.Event], table: Table
) -> None:
    """An item that is too large is the failure of who asked for it."""
    commits, let_go = held
    asked = [commits.submit([put(item("large", text="x" * 450_000))]), commits.submit([put(item("small"))])]
    let_go.set()
    wait(asked, 20)
    assert isinstance(asked[0].exception(), Refused)
    assert asked[1].exception() is None
    assert table.get({"pk": "small", "sk": "x"})


def test_the_same_item_never_twice_in_one(held: tuple[GroupCommit, threading.Event], dynamodb: Any) -> None:
    """Two that touch one item are two transactions, in their order, and nobody overtakes one of them."""
    commits, let_go = held
    with watched(dynamodb) as calls:
        asked = [commits.submit([put(item("a"), ABSENT), put(item(f"b{n}"))]) for n in range(2)]
        asked.append(commits.submit([put(item("b1"))]))
        let_go.set()
        wait(asked, 20)
    assert calls.operations == ["PutItem", "TransactWriteItems", "TransactWriteItems", "PutItem"]
    assert [type(each.exception()) for each in asked] == [type(None), ConditionFailed, type(None)]


def test_no_more_than_a_transaction_takes(held: tuple[GroupCommit, threading.Event], dynamodb: Any) -> None:
    """A hundred writes, or 3.5 MB, are one transaction; the rest is the next."""
    commits, let_go = held
    with watched(dynamodb) as calls:
        asked = [commits.submit([put(item(f"{n}-{m}")) for m in range(30)]) for n in range(4)]
        asked += [commits.submit([put(item(f"large{n}", text="x" * 300_000)), put(item(f"l{n}"))]) for n in range(20)]
        let_go.set()
        wait(asked, 30)
    assert calls.operations == ["PutItem", *["TransactWriteItems"] * 3]
    assert [each.exception() for each in asked] == [None] * 24


def test_an_error_that_says_nothing_is_told_to_all(dynamodb: Any) -> None:
    """Where nobody knows whether a transaction took effect, none of it is tried again behind anybody's back."""

    class Broken(Table):
        tries = 0

        def transact(self, writes: Any) -> None:
            Broken.tries += 1
            raise Downstream("no")

    commits = GroupCommit(Broken(dynamodb, TABLE), threads=1)
    asked = [commits.submit([put(item(f"{n}a")), put(item(f"{n}b"))]) for n in range(3)]
    wait(asked, 20)
    commits.close()
    assert [type(each.exception()) for each in asked] == [Downstream] * 3
    assert Broken.tries <= 3
    with pytest.raises(Downstream, match="ends"):
        commits.submit([put(item("late"))])
