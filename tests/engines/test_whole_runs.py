"""Small graphs of every control shape, from start to end: what each node is given, and what is recorded of it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.foundation.json_types import Json
from tests.fakes import Killed, World, graph, json_response, node
from tests.runs import Runs


def test_a_chain_hands_each_output_on(runs: Runs) -> None:
    """The input of a node is the output of the one before; the output of the run is that of its sink."""
    run = runs.run(
        graph([node("a", expression="{'n': data.n + 1}"), node("b", expression="data.n * 10")], "a -> b"), {"n": 1}
    )
    assert run.status == "succeeded"
    assert run.output == 20
    assert run.statuses() == {"a": "succeeded", "b": "succeeded"}
    assert (run.execution.tasks_total, run.execution.tasks_executed) == (2, 2)


def test_a_trigger_puts_out_the_payload(runs: Runs) -> None:
    """A trigger node's output is what the run was started with, and ``trigger`` names it everywhere."""
    nodes = [node("t", "manual-trigger"), node("a", expression="data.x"), node("b", expression="[data, trigger.x]")]
    run = runs.run(graph(nodes, "t -> a -> b"), {"x": 7})
    assert run.output == [7, 7]
    assert run.execution.trigger.node_id == "t"


def test_a_node_that_nothing_leads_to_is_skipped_beside_a_trigger(runs: Runs) -> None:
    """Where there is a trigger, a node without inbound connections is disconnected: skipped, and counted."""
    nodes = [node("t", "manual-trigger"), node("a"), node("lost"), node("after-lost")]
    run = runs.run(graph(nodes, "t -> a", "lost -> after-lost"), {})
    assert run.statuses() == {"t": "succeeded", "a": "succeeded", "lost": "skipped", "after-lost": "skipped"}
    assert (run.execution.tasks_total, run.execution.tasks_executed) == (4, 4)


def test_two_sinks_make_an_object(runs: Runs) -> None:
    """The output of a run with several sinks is an object by node id."""
    run = runs.run(graph([node("a"), node("b", expression="1"), node("c", expression="2")], "a -> b", "a -> c"))
    assert run.output == {"b": 1, "c": 2}


def test_a_join_is_keyed_by_source_where_ports_are_alike(runs: Runs) -> None:
    """Several connections into one port: an object by source node."""
    nodes = [node("a"), node("b", expression="1"), node("c", expression="2"), node("join")]
    run = runs.run(graph(nodes, "a -> b -> join", "a -> c -> join"))
    assert run.output == {"b": 1, "c": 2}


def test_a_join_is_keyed_by_port_where_ports_differ(runs: Runs) -> None:
    """Several connections into ports of their own: an object by port."""
    nodes = [
        node("a"),
        node("b", expression="{'x': 1}"),
        node("c", expression="{'y': 2}"),
        node("m", "merge", mode="list"),
    ]
    nodes.append(node("see", expression="data"))
    joined = graph(nodes, "a -> b -> m:left", "a -> c -> m:right", "m -> see")
    joined["nodes"][3]["config"] = {"mode": "object"}
    assert runs.run(joined).output == {"x": 1, "y": 2}
    mapped = graph(
        [*nodes[:3], node("m", "merge", mode="first", inputMappings={"all": "data"})],
        "a -> b -> m:left",
        "a -> c -> m:right",
    )
    assert runs.run(mapped).output == {"all": {"left": {"x": 1}, "right": {"y": 2}}}


def test_a_join_with_one_live_connection_is_still_an_object(runs: Runs) -> None:
    """What comes behind a condition keeps its shape whichever branch was taken: only the live one's key is there."""
    nodes = [
        node("c", "condition", expression="data.yes"),
        node("t", expression="'T'"),
        node("f", expression="'F'"),
        node("j"),
    ]
    run = runs.run(graph(nodes, "c:true -> t -> j", "c:false -> f -> j"), {"yes": True})
    assert run.output == {"t": "T"}
    assert run.statuses() == {"c": "succeeded", "t": "succeeded", "f": "skipped", "j": "succeeded"}


@pytest.mark.parametrize(
    ("mode", "expected"), [("list", [{"x": 1}, {"x": 2}]), ("first", {"x": 1}), ("object", {"x": 2})]
)
def test_merge(runs: Runs, mode: str, expected: Any) -> None:
    """merge sees its inputs in the order of its connections, and a later one wins."""
    nodes = [
        node("a"),
        node("b", expression="{'x': 1}"),
        node("c", expression="{'x': 2}"),
        node("m", "merge", mode=mode),
    ]
    assert runs.run(graph(nodes, "a -> b -> m", "a -> c -> m")).output == expected


def test_a_condition_takes_one_port(runs: Runs) -> None:
    """The branch behind the port that was not taken is recorded as skipped, to its end."""
    nodes = [node("c", "condition", expression="data.n > 5"), *(node(name) for name in ("t1", "t2", "f1", "f2"))]
    run = runs.run(graph(nodes, "c:true -> t1 -> t2", "c:false -> f1 -> f2"), {"n": 6})
    assert run.statuses() == {"c": "succeeded", "t1": "succeeded", "t2": "succeeded", "f1": "skipped", "f2": "skipped"}
    assert run.steps["c"].port == "true"
    assert run.steps["f1"].attempts == ()
    assert run.output == {"n": 6}


def test_a_switch_without_a_matching_case_takes_default(runs: Runs) -> None:
    """Cases are compared as text; none that matches is ``default``."""
    nodes = [node("s", "switch", expression="data.kind", cases=["1", "b"]), node("x"), node("y"), node("z")]
    shape = graph(nodes, "s:1 -> x", "s:b -> y", "s:default -> z")
    assert runs.run(shape, {"kind": 1}).statuses()["x"] == "succeeded"
    assert runs.run(shape, {"kind": "other"}).statuses() == {
        "s": "succeeded",
        "x": "skipped",
        "y": "skipped",
        "z": "succeeded",
    }


def test_nodes_names_earlier_outputs(runs: Runs) -> None:
    """``nodes.<id>`` is the output of that node, however far back; of a skipped one it is absent."""
    nodes = [
        node("a", expression="{'n': 1}"),
        node("c", "condition", expression="true"),
        node("no", expression="'never'"),
        node("b", expression="'b'"),
        node("last", expression="{'a': nodes.a.n, 'no': $exists(nodes.no), 'b': data}"),
    ]
    run = runs.run(graph(nodes, "a -> c", "c:false -> no", "c:true -> b -> last"))
    assert run.statuses()["no"] == "skipped"
    assert run.execution.output is not None
    assert runs.output(run.steps["last"]) == {"a": 1, "no": False, "b": "b"}


def test_input_mappings_and_pass_through(runs: Runs) -> None:
    """``inputMappings`` build the input in place of what flows in; ``passThroughValues`` copy of it to the output."""
    nodes = [
        node("a", expression="{'id': 9, 'n': 4}"),
        node("b", expression="{'seen': data}", inputMappings={"m": "data.n * 2", "who": "trigger.user"},
             passThroughValues={"kept": "who", "absent": "nothing"}),
    ]  # fmt: skip
    run = runs.run(graph(nodes, "a -> b"), {"user": "ann"})
    assert run.output == {"seen": {"m": 8, "who": "ann"}, "kept": "ann"}


def test_a_loop_gives_results_in_the_order_of_its_items(runs: Runs) -> None:
    """``done`` goes on with the list of the body's results; items are tasks and do not count."""
    nodes = [
        node("l", "loop", items="data.list"),
        node("x", expression="data * 10 + loop.index"),
        node("y", expression="{'v': nodes.x, 'of': loop.count, 'item': loop.item}"),
        node("z", expression="data.v"),
    ]
    run = runs.run(graph(nodes, "l:item -> x -> y", "l:done -> z"), {"list": [3, 1, 2]})
    assert run.output == [30, 11, 22]
    assert runs.output(run.steps["y[1]"]) == {"v": 11, "of": 3, "item": 1}
    assert (run.execution.tasks_total, run.execution.tasks_executed) == (2, 2)
    assert {"x[0]", "x[1]", "x[2]", "y[0]", "y[1]", "y[2]"} < run.steps.keys()


def test_a_loop_over_nothing(runs: Runs) -> None:
    """No items: the body never runs, and ``done`` goes on with an empty list."""
    run = runs.run(graph([node("l", "loop", items="[]"), node("x"), node("z")], "l:item -> x", "l:done -> z"))
    assert run.output == []
    assert run.statuses() == {"l": "succeeded", "z": "succeeded"}


def test_a_loop_with_several_sinks(runs: Runs) -> None:
    """An item's result is an object by node id where its body has several sinks; one that was skipped is not in it."""
    nodes = [
        node("l", "loop", items="[1, 2]"),
        node("c", "condition", expression="data = 1"),
        node("t"),
        node("f"),
        node("z"),
    ]
    run = runs.run(graph(nodes, "l:item -> c", "c:true -> t", "c:false -> f", "l:done -> z"))
    assert run.output == [{"t": 1}, {"f": 2}]
    assert run.statuses()["f[0]"] == "skipped"


def test_nested_loops(runs: Runs) -> None:
    """A loop within a loop: each path is its own, and a node sees the outer loop's item through ``nodes``."""
    nodes = [
        node("outer", "loop", items="data"),
        node("pick", expression="data"),
        node("inner", "loop", items="nodes.pick.xs"),
        node("body", expression="nodes.pick.name & $string(data)"),
        node("joined", expression="$join(data, '+')"),
        node("end"),
    ]
    shape = graph(
        nodes, "outer:item -> pick -> inner", "inner:item -> body", "inner:done -> joined", "outer:done -> end"
    )
    rows: list[Json] = [{"name": "p", "xs": [1, 2]}, {"name": "q", "xs": []}, {"name": "r", "xs": [3]}]
    shape["nodes"].insert(0, node("rows", expression="trigger.rows"))
    shape["connections"].append({"sourceNodeId": "rows", "targetNodeId": "outer"})
    run = runs.run(shape, {"rows": rows})
    assert run.status == "succeeded"
    assert run.output == ["p1+p2", "", "r3"]
    assert {"body[0][0]", "body[0][1]", "body[2][0]"} < run.steps.keys()


def test_a_wait_passes_its_input_on(runs: Runs) -> None:
    """A wait is entered and left, and hands on what came in."""
    run = runs.run(graph([node("w", "wait", seconds=90), node("a")], "w -> a"), {"x": 1})
    assert run.output == {"x": 1}
    assert run.walk.visited == ["w", "w.wait", "w.leave", "a"]
    assert run.steps["w"].until == "2026-01-05T09:01:30.000Z"


def test_a_failure_fails_the_run(runs: Runs) -> None:
    """A node that fails for good ends the run with its error, by name, message and node; what is behind never ran."""
    run = runs.run(graph([node("a"), node("f", "fail", error="Sold", message="out"), node("b")], "a -> f"))
    assert run.status == "failed"
    assert run.execution.error == {"name": "Sold", "message": "out", "nodeId": "f"}
    assert run.statuses()["f"] == "failed"


def test_on_error_continue(runs: Runs, world: World) -> None:
    """``continue``: the task shows the error, and the run goes on with it as the output."""
    world.http.fail_with(Permanent("Gone", "no more"))
    nodes = [node("h", "http-request", method="GET", url="http://x", settings={"onError": "continue"}), node("b")]
    run = runs.run(graph(nodes, "h -> b"))
    assert run.status == "succeeded"
    assert run.output == {"error": {"name": "Gone", "message": "no more"}}
    assert str(run.steps["h"].status) == "failed"
    assert run.steps["h"].error is not None


def test_on_error_continue_of_a_loop(runs: Runs) -> None:
    """A loop whose items cannot be told, and that may continue, goes on by ``done``."""
    nodes = [node("l", "loop", items="$error('no list')", settings={"onError": "continue"}), node("x"), node("z")]
    run = runs.run(graph(nodes, "l:item -> x", "l:done -> z"))
    assert run.status == "succeeded"
    assert str(run.steps["z"].status) == "succeeded"
    assert isinstance(run.output, dict)
    assert "no list" in run.output["error"]["message"]


def test_on_error_port(runs: Runs, world: World) -> None:
    """``port``: the error leaves by the port ``error``, and ``output`` is dead."""
    world.http.fail_with(Permanent("Gone", "no more"))
    shape = graph(
        [
            node("h", "http-request", method="GET", url="http://x", settings={"onError": "port"}),
            node("ok"),
            node("bad"),
        ],
        "h -> ok",
        "h:error -> bad",
    )
    run = runs.run(shape)
    assert run.statuses() == {"h": "failed", "ok": "skipped", "bad": "succeeded"}
    assert run.output == {"error": {"name": "Gone", "message": "no more"}}
    assert runs.run(shape).statuses() == {"h": "succeeded", "ok": "succeeded", "bad": "skipped"}


def test_retries_are_recorded(runs: Runs, world: World) -> None:
    """Each attempt has its error; the one that succeeds has none."""
    world.http.fail_with(Retryable("Slow", "one"), Retryable("Slow", "two"))
    settings = {"retry": {"maxAttempts": 3}}
    run = runs.run(graph([node("h", "http-request", method="GET", url="http://x", settings=settings)]))
    assert run.status == "succeeded"
    errors = [attempt.error and attempt.error.message for attempt in run.steps["h"].attempts]
    assert errors == ["one", "two", None]
    assert all(attempt.finished_at for attempt in run.steps["h"].attempts)
    assert run.steps["h"].error is None


@pytest.mark.parametrize(("on_error", "status"), [("fail", "failed"), ("continue", "succeeded"), ("port", "succeeded")])
def test_attempts_are_counted(runs: Runs, world: World, on_error: str, status: str) -> None:
    """After ``maxAttempts`` failures the node has failed for good, and ``onError`` decides what becomes of the run."""
    world.http.fail_with(*(Retryable("Slow", str(number)) for number in range(9)))
    settings = {"retry": {"maxAttempts": 3}, "onError": on_error}
    run = runs.run(graph([node("h", "http-request", method="GET", url="http://x", settings=settings)]))
    assert run.status == status
    assert len(world.http.requests) == 3
    assert [attempt.error and attempt.error.message for attempt in run.steps["h"].attempts] == ["0", "1", "2"]


def test_permanent_is_final_at_once(runs: Runs, world: World) -> None:
    """``Permanent`` is never tried again, however many attempts the settings allow."""
    world.http.fail_with(Permanent("No", "never"))
    settings = {"retry": {"maxAttempts": 5}}
    run = runs.run(graph([node("h", "http-request", method="GET", url="http://x", settings=settings)]))
    assert (run.status, len(world.http.requests)) == ("failed", 1)


def test_retries_of_the_workflow_are_the_default(runs: Runs, world: World) -> None:
    """``retryOnFailure`` and ``maxRetries`` apply to nodes that say nothing; attempts are retries and one."""
    world.http.fail_with(Retryable("Slow", "one"), Retryable("Slow", "two"))
    shape = graph([node("h", "http-request", method="GET", url="http://x")])
    assert runs.run(shape, retryOnFailure=True, maxRetries=2).status == "succeeded"


def test_a_process_that_dies_is_not_an_attempt_of_the_users(runs: Runs, world: World) -> None:
    """A death in the handler is tried again even where the node allows one attempt only."""
    world.http.fail_with(Killed(), Killed())
    run = runs.run(graph([node("h", "http-request", method="GET", url="http://x")]))
    assert run.status == "succeeded"
    assert [attempt.finished_at is None for attempt in run.steps["h"].attempts] == [True, True, False]


def test_large_outputs_lie_in_s3(runs: Runs, s3: Any) -> None:
    """An output beyond 32 KB is handed on like any other, and its record holds only where it lies."""
    run = runs.run(
        graph([node("a", expression="$pad('', 40000, 'x')"), node("b", expression="$length(data)")], "a -> b")
    )
    assert run.output == 40000
    stored = run.steps["a"].output
    assert stored is not None
    assert stored.text is None
    assert stored.key is not None
    assert s3.head_object(Bucket="millrace-test-data", Key=stored.key)["ContentLength"] == 40002


def test_a_handler_that_raises_what_it_likes(runs: Runs, world: World) -> None:
    """Any other exception of a handler is an error of its class's name, tried again as the settings allow."""

    def explode(message: str) -> None:
        raise ZeroDivisionError("oh")

    world.log.on_write = explode
    run = runs.run(graph([node("a", "log", message="m", settings={"retry": {"maxAttempts": 2}})]))
    assert run.execution.error == {"name": "ZeroDivisionError", "message": "oh", "nodeId": "a"}
    assert len(run.steps["a"].attempts) == 2


def test_more_than_a_transaction_can_skip(runs: Runs) -> None:
    """A closed branch of 150 nodes is recorded as skipped to its last."""
    names = [f"n{index}" for index in range(150)]
    nodes = [node("c", "condition", expression="true"), node("t"), *map(node, names)]
    run = runs.run(graph(nodes, "c:true -> t", "c:false -> n0", " -> ".join(names)))
    assert sum(status == "skipped" for status in run.statuses().values()) == 150
    assert (run.execution.tasks_total, run.execution.tasks_executed) == (152, 152)


def test_odd_ids(runs: Runs) -> None:
    """A node may be called anything: what means something in JSONata, DynamoDB or a path means nothing here."""
    names = ["a[0]", "STEP#x", "{% $states %}", "'", "naïve ☃", "x" * 128, "[1]#y", "EXECUTION", "COUNT"]
    run = runs.run(
        graph([node(name) for name in names], *(f"{a} -> {b}" for a, b in pairwise(names))),
        {"v": 1},
    )
    assert run.status == "succeeded"
    assert run.output == {"v": 1}
    assert set(run.statuses()) == set(names)


def test_a_port_named_like_code(runs: Runs) -> None:
    """A case of a switch is text and nothing else, whatever it holds."""
    cases = ["'", "{% 1 %}", "a' or true or 'b", "\\", "\n", "☃"]
    nodes = [node("s", "switch", expression="trigger.kind", cases=cases), *(node(f"n{i}") for i in range(len(cases)))]
    shape = graph(nodes)
    shape["connections"] = [
        {"sourceNodeId": "s", "sourcePort": case, "targetNodeId": f"n{index}"} for index, case in enumerate(cases)
    ]
    for index, case in enumerate(cases):
        run = runs.run(shape, {"kind": case})
        assert [task for task, status in run.statuses().items() if status == "succeeded"] == ["s", f"n{index}"] or [
            task for task, status in run.statuses().items() if status == "succeeded"
        ] == [f"n{index}", "s"]


def test_an_answer_of_http_is_handed_on(runs: Runs, world: World) -> None:
    """http-request puts out status, headers and the parsed body, and its templates see the input."""
    world.http.reply = lambda request: json_response({"url": request.url})
    nodes = [node("a", expression="{'id': 5}"), node("h", "http-request", method="get", url="http://x/{{ data.id }}")]
    run = runs.run(graph(nodes, "a -> h"))
    assert run.output == {"status": 200, "headers": {"content-type": "application/json"}, "body": {"url": "http://x/5"}}
