"""Gates in the store: who comes last finds what the other has left, and nothing is lost where two come at once."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from chalicelib.compiler.asl.fragments import fill
from chalicelib.store.executions import ExecutionRepository
from chalicelib.store.gates import GateRepository
from chalicelib.store.table import Table
from tests.conftest import TABLE
from tests.fakes import FakeClock
from tests.state_machines import StateFailed, Tokens, Walk, update_item
from tests.store.test_executions import done, execution

RUN = {"organization": "acme", "execution": "exec_0001", "round": 1}


@pytest.fixture
def gates(table: Table, clock: FakeClock) -> GateRepository:
    return GateRepository(table, clock)


def arrive(gates: GateRepository, who: str, needed: int = 2, path: str = "") -> str | None:
    return gates.arrive("acme", "exec_0001", "1.g", path, who, needed)


def gate(needed: int = 2) -> dict[str, Any]:
    """The state as a machine has it, alone in one."""
    filled = {"Table": TABLE, "Name": "'1.g'", "Needed": str(needed), "KeptSeconds": 60, "Retry": [], "Next": "end"}
    state = fill("gate", **filled, Output="{% $states.input %}")
    return {"StartAt": "gate", "States": {"gate": state, "end": {"Type": "Succeed"}}}


def come(path: str = "", idle: Any = lambda: False) -> Walk:
    """A state machine comes to the gate."""
    walk = Walk(gate(), invoke=lambda event: {}, update=update_item, idle=idle)
    assert walk.run({"run": RUN, "path": path}) == {"run": RUN, "path": path}
    return walk


@pytest.mark.parametrize("order", list(permutations(["a", "b", "machine"])))
def test_whoever_comes_last_opens(gates: GateRepository, order: tuple[str, ...]) -> None:
    """In every order the machine goes on once, when both have arrived: by a token if it waits, else by itself."""
    walk = Walk(gate(), invoke=lambda event: {}, update=update_item)
    machine = walk._machine(
        walk.definition, {"run": RUN, "path": ""}, {"Execution": {"Name": "run", "Input": {"run": RUN}}}
    )
    tokens = []
    for who in order:
        if who == "machine":
            next(machine, None)
        elif token := arrive(gates, who):
            tokens.append(token)
            walk.tokens.succeed(token, "null")
    assert list(machine) == []
    assert walk.visited == ["gate", "end"]
    assert (len(tokens), walk.waits) == ((0, 0) if order[-1] == "machine" else (1, 1))


def test_to_arrive_twice_is_to_arrive_once(gates: GateRepository) -> None:
    """A repeated arrival counts once; the one that completes the gate is told the token again, should it have died."""
    update_item(_left("t"))
    assert [arrive(gates, "a"), arrive(gates, "a"), arrive(gates, "b"), arrive(gates, "a")] == [None, None, "t", "t"]


def test_a_gate_is_of_one_iteration(gates: GateRepository) -> None:
    """Each item of a loop has gates of its own."""
    arrive(gates, "a", path="[0]")
    arrive(gates, "b", path="[1]")
    arrive(gates, "b", path="[0]")
    assert come("[0]").waits == 0
    with pytest.raises(AssertionError, match="lost"):
        come("[1]")


def test_all_tokens_are_found(gates: GateRepository, executions: ExecutionRepository) -> None:
    """What waits at the gates of a run is found at its end, and is no step of it."""
    run = execution()
    executions.create(run)
    executions.write_step(run, done("a"))
    for name in ("t1", "t2"):
        update_item(_left(name, sk=f"GATE#{name}#"))
    gates.arrive("acme", "exec_0001", "nobody-waits", "", "a", 1)
    gates.arrive("acme", "exec_0002", "t9", "", "a", 1)
    assert sorted(gates.waiting("acme", "exec_0001")) == ["t1", "t2"]
    assert executions.load_run("acme", "exec_0001").steps.keys() == {("a", "")}


def test_a_gate_is_kept_for_a_time(gates: GateRepository, table: Table, clock: FakeClock) -> None:
    """Whoever touches a gate first says when it may go; that is later than any run may end."""
    arrive(gates, "a")
    item = table.get({"pk": "ORG#acme#EXEC#exec_0001", "sk": "GATE#1.g#"})
    assert item is not None
    assert item["expiresAt"] > clock.now().timestamp() + 365 * 24 * 3600
    with pytest.raises(StateFailed, match="ended"):
        Walk(gate(), invoke=lambda event: {}, update=update_item, idle=lambda: False, tokens=_Closed()).run(
            {"run": RUN, "path": "[5]"}
        )
    item = table.get({"pk": "ORG#acme#EXEC#exec_0001", "sk": "GATE#1.g#[5]"})
    assert item is not None
    assert item["expiresAt"] > 0


class _Closed(Tokens):
    """Answers every token with a failure."""

    def new(self) -> str:
        return "t"

    def is_answered(self, token: str) -> bool:
        return True

    def result(self, token: str) -> Any:
        raise StateFailed("RunEnded", "the run has ended")


def _left(token: str, sk: str = "GATE#1.g#") -> dict[str, Any]:
    """What the state writes."""
    return {
        "TableName": TABLE,
        "Key": {"pk": {"S": "ORG#acme#EXEC#exec_0001"}, "sk": {"S": sk}},
        "UpdateExpression": "SET taskToken = :token",
        "ExpressionAttributeValues": {":token": {"S": token}},
    }
