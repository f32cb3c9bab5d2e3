"""Writes that stand in one transaction with those of others, as if each stood alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from chalicelib.foundation.errors import Downstream
from chalicelib.store.group_commit import GroupCommit
from chalicelib.store.table import ABSENT, ConditionFailed, Refused, Table, Write, put
from tests.conftest import TABLE
from tests.fakes import TableWire, watched


def item(name: str, **fields: Any) -> dict[str, Any]:
    return {"pk": name, "sk": "x", **fields}


@pytest.fixture
def table(dynamodb: Any) -> Table:
    return Table(dynamodb, TABLE)


class Held(TableWire):
    """Sends what writes ``held`` when it is let go, and all else at once."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.entered = asyncio.Event()
        self.let_go = asyncio.Event()
        self.sent: list[list[str]] = []  #: the partitions of each request
        self.is_closed = False

    async def send(self, writes: Sequence[Write]) -> None:
        self.sent.append([write.key["pk"] for write in writes])
        if "held" in self.sent[-1]:
            self.entered.set()
            await self.let_go.wait()
        await super().send(writes)

    async def close(self) -> None:
        self.is_closed = True


Play = Callable[[GroupCommit, Held], Awaitable[None]]


def play(table: Table, ask: Play, in_flight: int = 1) -> tuple[GroupCommit, list[list[str]]]:
    """Asks while a first commit is under way and held, and closes; what was sent behind it."""

    async def run() -> tuple[GroupCommit, list[list[str]]]:
        async with asyncio.timeout(30):
            wire = Held(table)
            commits = GroupCommit(wire, in_flight)
            first = commits.commit([put(item("held"))])
            await wire.entered.wait()
            await ask(commits, wire)
            wire.let_go.set()
            await commits.close()
            assert first.done()
            assert wire.is_closed
            return commits, wire.sent[1:]

    return asyncio.run(run())


async def outcomes(asked: Sequence[Awaitable[None]], wire: Held) -> list[BaseException | None]:
    """Of commits that were asked for, once the first one is let go."""
    wire.let_go.set()
    return await asyncio.gather(*asked, return_exceptions=True)


def test_what_comes_meanwhile_goes_together(table: Table, dynamodb: Any) -> None:
    """While a request is under way everybody else waits; then all of them are one transaction."""

    async def ask(commits: GroupCommit, wire: Held) -> None:
        asked = [commits.commit([put(item(f"{n}"), ABSENT), put(item(f"{n}b"))]) for n in range(20)]
        assert await outcomes(asked, wire) == [None] * 20

    with watched(dynamodb) as calls:
        commits, _ = play(table, ask)
    assert calls.operations == ["PutItem", "TransactWriteItems"]
    assert (commits.commits, commits.calls) == (21, 2)


def test_what_the_event_loop_has_ready_goes_together(table: Table) -> None:
    """Nobody waits for anybody who is not there yet; who is, goes along, though nothing was under way."""

    async def caller(commits: GroupCommit, number: int) -> None:
        await commits.commit([put(item(f"{number}"))])

    async def run() -> list[list[str]]:
        wire = Held(table)
        commits = GroupCommit(wire)
        await asyncio.gather(*(caller(commits, number) for number in range(5)))
        await commits.commit([put(item("later"))])
        await commits.close()
        return wire.sent

    assert asyncio.run(run()) == [["0", "1", "2", "3", "4"], ["later"]]


def test_one_that_is_refused_takes_nobody_with_it(table: Table) -> None:
    """Where a condition does not hold, the others are written, and who asked hears of their own write by its index."""
    table.write(put(item("taken", by="somebody")))

    async def ask(commits: GroupCommit, wire: Held) -> None:
        asked = [
            commits.commit([put(item("a"), ABSENT), put(item("b"))]),
            commits.commit([put(item("c")), put(item("taken"), ABSENT)]),
            commits.commit([put(item("d"), ABSENT)]),
        ]
        first, refused, last = await outcomes(asked, wire)
        assert isinstance(refused, ConditionFailed)
        assert (refused.index, (refused.old or {})["by"]) == (1, "somebody")
        assert [first, last] == [None, None]

    play(table, ask)
    assert {name for name in "abcd" if table.get({"pk": name, "sk": "x"})} == {"a", "b", "d"}


def test_one_that_dynamodb_does_not_take_takes_nobody_with_it(table: Table) -> None:
    """An item that is too large is the failure of who asked for it."""

    async def ask(commits: GroupCommit, wire: Held) -> None:
        asked = [commits.commit([put(item("large", text="x" * 450_000))]), commits.commit([put(item("small"))])]
        large, small = await outcomes(asked, wire)
        assert isinstance(large, Refused)
        assert small is None

    play(table, ask)
    assert table.get({"pk": "small", "sk": "x"})


def test_the_same_item_never_twice_in_one(table: Table) -> None:
    """Two that touch one item are two transactions, in their order, and nobody overtakes one of them."""

    async def ask(commits: GroupCommit, wire: Held) -> None:
        asked = [commits.commit([put(item("a"), ABSENT), put(item(f"b{n}"))]) for n in range(2)]
        asked.append(commits.commit([put(item("b1"))]))
        found = [type(each) for each in await outcomes(asked, wire)]
        assert found == [type(None), ConditionFailed, type(None)]

    assert play(table, ask)[1] == [["a", "b0"], ["a", "b1"], ["b1"]]


def test_the_same_item_never_twice_at_once(table: Table) -> None:
    """Who touches an item that is under way waits, and all behind do; before that others go while there is room."""

    async def ask(commits: GroupCommit, wire: Held) -> None:
        await commits.commit([put(item("free"))])
        behind = [commits.commit([put(item("held", n=2))]), commits.commit([put(item("behind"))])]
        await asyncio.sleep(0)  # behind the turn in which they would have gone
        await asyncio.sleep(0)
        assert wire.sent == [["held"], ["free"]]
        assert await outcomes(behind, wire) == [None, None]

    assert play(table, ask, in_flight=2)[1] == [["free"], ["held", "behind"]]
    assert (table.get({"pk": "held", "sk": "x"}) or {})["n"] == 2


def test_no_more_than_a_transaction_takes(table: Table) -> None:
    """A hundred writes, or 3.5 MB, are one transaction; the rest is the next."""
    text = '{"pk":{"S":"%s"},"sk":{"S":"x"},"text":{"S":"%s"}}'

    async def ask(commits: GroupCommit, wire: Held) -> None:
        asked = [commits.commit([put(item(f"{n}-{m}")) for m in range(30)]) for n in range(4)]
        asked += [commits.commit([put(item(f"large{n}", text="x" * 300_000)), put(item(f"l{n}"))]) for n in range(10)]
        for n in range(10):
            key = item(f"text{n}")
            asked.append(commits.commit([Write("Put", key, text=text % (key["pk"], "x" * 300_000))]))  # type: ignore[arg-type]
        assert await outcomes(asked, wire) == [None] * 24

    sizes = [len(request) for request in play(table, ask)[1]]
    assert sizes == [90, 30 + 10 * 2 + 1, 9]


def test_an_error_that_says_nothing_is_told_to_all(table: Table) -> None:
    """Where nobody knows whether a transaction took effect, none of it is tried again behind anybody's back."""

    class Broken(TableWire):
        tries = 0

        async def send(self, writes: Sequence[Write]) -> None:
            self.tries += 1
            raise Downstream("no")

    async def run() -> None:
        wire = Broken(table)
        commits = GroupCommit(wire)
        asked = [commits.commit([put(item(f"{n}a")), put(item(f"{n}b"))]) for n in range(3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        await commits.close()
        assert [type(each) for each in found] == [Downstream] * 3
        assert wire.tries == 1
        with pytest.raises(Downstream, match="ends"):
            commits.commit([put(item("late"))])

    asyncio.run(run())


@pytest.mark.parametrize("when", ["waits", "under way"])
def test_whoever_goes_away_takes_nothing_back(table: Table, when: str) -> None:
    """A caller that is cancelled: its writes are done all the same, and nobody beside it is the worse for it."""

    async def ask(commits: GroupCommit, wire: Held) -> None:
        async def caller(name: str) -> None:
            await commits.commit([put(item(name))])

        leaves, stays = asyncio.create_task(caller("leaves")), asyncio.create_task(caller("stays"))
        await asyncio.sleep(0)
        if when == "under way":
            wire.let_go.set()
            while len(wire.sent) < 2:
                await asyncio.sleep(0)
        leaves.cancel()
        assert [type(each) for each in await outcomes([leaves, stays], wire)] == [
            asyncio.CancelledError,
            type(None),
        ]

    commits, sent = play(table, ask)
    assert sent == [["leaves", "stays"]]
    assert commits.commits == 3
    assert table.get({"pk": "leaves", "sk": "x"})


def test_the_end_of_the_event_loop_is_the_end_of_who_waits(table: Table) -> None:
    """Tasks are cancelled: so is who waits for them, and nobody hangs. Connections are closed by a ``close`` that is
    cut off.
    """
    cancelled: list[str] = []

    async def caller(commits: GroupCommit, name: str) -> None:
        try:
            await commits.commit([put(item(name))])
        except asyncio.CancelledError:
            cancelled.append(name)
            raise

    async def run() -> Held:
        wire = Held(table)
        commits = GroupCommit(wire, 1)
        held = asyncio.create_task(caller(commits, "held"))
        await wire.entered.wait()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await commits.close()
        (sending,) = commits._sending
        sending.cancel()
        await asyncio.wait([held])
        return wire

    def bounded(work: Coroutine[Any, Any, Held]) -> Held:
        return asyncio.run(asyncio.wait_for(work, 20))

    assert bounded(run()).is_closed
    assert cancelled == ["held"]
