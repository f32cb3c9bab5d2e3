"""The journal of the local cluster: what is answered is on disk, and watches begin where they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.local.cluster.errors import ApiError
from infra.local.cluster.resources import CONFIG_MAPS
from infra.local.cluster.store import Store

Json = dict[str, Any]


def config(name: str, **data: str) -> Json:
    metadata = {"name": name, "namespace": "here", "uid": name}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def held(store: Store) -> dict[str, Json]:
    return {one["metadata"]["name"]: one["data"] for one in store.all_of(CONFIG_MAPS, "here")}


def test_a_killed_server_comes_back_with_all_that_it_has_said(tmp_path: Path) -> None:
    """Without any ending: another store reads the journal as it is on disk, versions go on."""
    store = Store(tmp_path / "journal")
    store.put(CONFIG_MAPS, config("a", x="1"))
    store.put(CONFIG_MAPS, config("b", x="2"))
    store.put(CONFIG_MAPS, config("a", x="3"))
    store.remove(CONFIG_MAPS, "here", "b")
    again = Store(tmp_path / "journal")
    assert held(again) == {"a": {"x": "3"}}
    assert again.version == store.version
    once_more = Store(tmp_path / "journal")  # the journal was written anew meanwhile
    assert held(once_more) == held(again)
    assert once_more.version == store.version
    for one in (store, again, once_more):
        one.close()


def test_a_line_that_was_cut_off_is_as_if_it_had_not_been(tmp_path: Path) -> None:
    """Killed in the middle of a write, which nobody was told of."""
    journal = tmp_path / "journal"
    with_b = Store(journal)
    with_b.put(CONFIG_MAPS, config("a"))
    whole = journal.read_bytes()
    with_b.put(CONFIG_MAPS, config("b"))
    with_b.close()
    full = journal.read_bytes()
    for length in range(len(whole), len(full)):
        journal.write_bytes(full[:length])
        cut = Store(journal)
        assert set(held(cut)) == {"a"}
        cut.close()


def test_the_journal_does_not_grow_for_ever(tmp_path: Path) -> None:
    """After many changes of few objects it is written anew, and nothing is missing in it."""
    store = Store(tmp_path / "journal")
    for number in range(12_000):
        store.put(CONFIG_MAPS, config(f"c{number % 3}", n=str(number)))
    lines = (tmp_path / "journal").read_text().splitlines()
    assert len(lines) < 6_000
    assert all(json.loads(line) for line in lines)
    again = Store(tmp_path / "journal")
    assert held(again) == {"c0": {"n": "11997"}, "c1": {"n": "11998"}, "c2": {"n": "11999"}}
    store.close()
    again.close()


def test_a_watch_from_too_long_ago(tmp_path: Path) -> None:
    """What is older than the store remembers is 410: its reader has to list again."""
    store = Store(tmp_path / "journal")
    for number in range(5_000):
        store.put(CONFIG_MAPS, config("a", n=str(number)))
    with pytest.raises(ApiError) as raised:
        store.watch(2)
    assert (raised.value.code, raised.value.reason) == (410, "Expired")
    watcher = store.watch(store.version - 2)
    seen = [watcher.queue.get_nowait() for _ in range(2)]
    assert [change.object["data"]["n"] for change in seen if change] == ["4998", "4999"]
    again = Store(tmp_path / "journal")
    with pytest.raises(ApiError):
        again.watch(again.version - 1)  # it was started since, and does not know what came before
    store.close()
    again.close()


def test_a_watcher_that_does_not_read_is_ended(tmp_path: Path) -> None:
    """Nobody's slowness makes the server grow."""
    store = Store(tmp_path / "journal")
    watcher = store.watch(None)
    for number in range(3_000):
        store.put(CONFIG_MAPS, config("a", n=str(number)))
    assert watcher.is_over
    assert watcher.queue.qsize() < 2_100
    store.close()
