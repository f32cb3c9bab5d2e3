"""The audit: an entry for each change, written with it, and none without one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.foundation.clock import parse_timestamp
from tests.api.client import Api, Response
from tests.fakes import Killed, graph, node, watched

AUDIT = "/api/v1/audit"
KEYS = "/api/v1/keys"
WORKFLOWS = "/api/v1/workflows"
GRAPH = graph(
    [
        node("t", "manual-trigger"),
        node("a", "set-fields", fields={"x": 1}),
        node("b", "s3-read", bucket="data", key="k"),
    ],
    "t -> a",
)


@pytest.fixture
def root(client_of: Callable[..., Api]) -> Api:
    return client_of("root", "*")


@pytest.fixture
def path(api: Api) -> str:
    return f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'w', **GRAPH}).json['workflowId']}"


#: Requests on a workflow that was just made and shared with bob, and the entry that each leaves.
CHANGES: list[tuple[str, str, Any, str, dict[str, Any]]] = [
    ("PUT", "", {"name": "n", "tags": []}, "workflow.updated", {"fields": ["name", "tags"]}),
    ("PUT", "/status", {"status": "paused"}, "workflow.status-changed", {"status": "paused"}),
    ("DELETE", "", None, "workflow.deleted", {"name": "w"}),
    ("POST", "/nodes", {"nodeId": "log"}, "node.added", {"id": "node_"}),
    ("PUT", "/nodes/a", {"config": {"fields": {"x": "secret"}}}, "node.changed", {"id": "a"}),
    ("PUT", "/nodes/a", {"label": "L"}, "node.changed", {"id": "a"}),
    ("PUT", "/nodes/a/input-mappings", {"mappings": {"x": "1"}}, "node.changed", {"id": "a"}),
    ("PUT", "/nodes/a/passthrough-values", {"values": {"x": "y"}}, "node.changed", {"id": "a"}),
    ("DELETE", "/nodes/a", None, "node.removed", {"id": "a"}),
    ("POST", "/connections", {"sourceNodeId": "a", "targetNodeId": "b"}, "connection.added", {"id": "conn_"}),
    ("DELETE", "/connections/conn-1", None, "connection.removed", {"id": "conn-1"}),
    ("POST", "/layout", None, "workflow.arranged", {}),
    ("POST", "/compute-scopes", None, "workflow.scopes-computed", {}),
    ("POST", "/versions", {"versionTag": "v2"}, "version.created", {"tag": "v2"}),
    ("POST", "/share", {"userId": "cy"}, "workflow.shared", {"user": "cy"}),
    ("DELETE", "/share/bob", None, "workflow.unshared", {"user": "bob"}),
]


@pytest.mark.parametrize(("method", "below", "body", "action", "detail"), CHANGES)
def test_every_change_has_its_entry(
    api: Api, root: Api, path: str, method: str, below: str, body: Any, action: str, detail: dict[str, Any]
) -> None:
    """Who, what, to which thing, when, and a little more: never what a config holds."""
    api.post(f"{path}/share", {"userId": "bob"})
    before = entries(root)
    assert api.call(method, path + below, body).status < 300
    entry, *rest = entries(root)
    assert rest == before
    assert (entry["action"], entry["userId"], entry["subject"]) == (action, "ann", path.rpartition("/")[2])
    assert entry["id"] not in {item["id"] for item in rest}
    assert parse_timestamp(entry["at"])
    assert entry["detail"].keys() == detail.keys()
    for name, value in detail.items():
        found = entry["detail"][name]
        assert found == value or (str(value).endswith("_") and found.startswith(value))
    assert "secret" not in str(entry)


def entries(client: Api, query: str = "") -> list[dict[str, Any]]:
    answer = client.get(f"{AUDIT}?limit=200&{query}")
    assert answer.status == 200
    found: list[dict[str, Any]] = answer.json["entries"]
    return found


def test_makings_have_theirs(api: Api, root: Api, path: str) -> None:
    """New workflows, copies, which name their source, and keys, by their prefix."""
    copy = api.post(f"{path}/duplicate").json["workflowId"]
    key = root.post(KEYS, {"userId": "bob", "scopes": ["workflows:read"]}).json
    root.delete(f"{KEYS}/{key['id']}")
    source = path.rpartition("/")[2]
    told = [(item["action"], item["userId"], item["subject"], item["detail"]) for item in entries(root)]
    assert told[:4] == [
        ("key.revoked", "root", key["id"], {}),
        ("key.created", "root", key["id"], {"user": "bob", "prefix": key["prefix"]}),
        ("workflow.duplicated", "ann", copy, {"name": "w (copy)", "source": source}),
        ("workflow.created", "ann", source, {"name": "w"}),
    ]
    assert key["key"] not in str(told)
    assert {item[0] for item in told[4:]} == {"key.created"}


@pytest.mark.parametrize(
    "refused",
    [
        lambda api, path: api.put(path, {"name": ""}),
        lambda api, path: api.put(path, {"name": "n"}, If_Match='"9"'),
        lambda api, path: api.delete(f"{path}/nodes/none"),
        lambda api, path: api.post(f"{path}/nodes", {"nodeId": "none"}),
        lambda api, path: api.post(f"{path}/connections", {"sourceNodeId": "t", "targetNodeId": "a"}),
        lambda api, path: api.post(f"{path}/share", {"userId": "ann"}),
        lambda api, path: api.put("/api/v1/workflows/none", {"name": "n"}),
    ],
)
def test_what_is_refused_has_none(api: Api, root: Api, path: str, refused: Callable[[Api, str], Response]) -> None:
    """The audit tells what was done, not what was tried."""
    before = entries(root)
    assert refused(api, path).status >= 400
    assert entries(root) == before


def test_what_changes_nothing_has_none(api: Api, root: Api, path: str) -> None:
    """Reading, validating, running, and edits that find all as it is to be."""
    api.post(f"{path}/share", {"userId": "bob"})
    api.post(f"{path}/layout")
    api.post(f"{path}/compute-scopes")
    before = entries(root)
    for method, below, body in (
        ("GET", "", None),
        ("GET", "/nodes", None),
        ("POST", "/validate", None),
        ("POST", "/execute", {}),
        ("POST", "/layout", None),
        ("POST", "/compute-scopes", None),
        ("POST", "/share", {"userId": "bob"}),
        ("DELETE", "/share/nobody", None),
        ("PUT", "/nodes/a", {"config": {"fields": {"x": 1}}}),
    ):
        assert api.call(method, path + below, body).status < 300
    assert entries(root) == before


@pytest.mark.parametrize("moment", ["before", "after"])
def test_there_is_none_without_the_change(
    api: Api, root: Api, path: str, deployed: Services, dynamodb: Any, moment: str
) -> None:
    """A process that dies at the write leaves both, or neither."""
    etag = api.get(path).headers["etag"]
    before = entries(root)

    def die(_: int) -> None:
        if calls.operations[-1] == "TransactWriteItems":
            raise Killed

    with watched(dynamodb) as calls:
        setattr(calls, moment, die)
        with pytest.raises(Killed):
            api.put(path, {"name": "n"})
    changed = api.get(path).headers["etag"] != etag
    assert changed is (moment == "after")
    assert (entries(root) != before) is changed


def test_of_one_thing(api: Api, root: Api, path: str) -> None:
    """``subject`` leaves what was done to it, also when it is gone; of what there is not, nothing was done."""
    other = f"{WORKFLOWS}/{api.post(WORKFLOWS, {'name': 'other'}).json['workflowId']}"
    api.put(path, {"name": "n"})
    api.delete(path)
    subject = path.rpartition("/")[2]
    actions = [item["action"] for item in entries(root, f"subject={subject}")]
    assert actions == ["workflow.deleted", "workflow.updated", "workflow.created"]
    assert len(entries(root, f"subject={other.rpartition('/')[2]}")) == 1
    for odd in ("none", "%F0%9F%8E%88", "a%23b", "x" * 5000):
        assert entries(root, f"subject={odd}") == []


def test_pages(api: Api, root: Api, path: str) -> None:
    """Newest first, of the organisation and of one thing; all pages together are the whole."""
    for number in range(5):
        api.put(path, {"name": f"n{number}"})
    for query in ("", f"&subject={path.rpartition('/')[2]}"):
        whole = entries(root, query)
        assert [item["at"] for item in whole] == sorted((item["at"] for item in whole), reverse=True)
        pages = [root.get(f"{AUDIT}?limit=2&offset={offset}{query}").json for offset in range(0, len(whole) + 1, 2)]
        assert [item for page in pages for item in page["entries"]] == whole
        assert (pages[1]["limit"], pages[1]["offset"]) == (2, 2)
    answer = root.get(f"{AUDIT}?limit=0&offset=x")
    assert [fault["path"] for fault in answer.json["errors"]] == ["limit", "offset"]


def test_of_ones_own_organisation(root: Api, path: str, client_of: Callable[..., Api]) -> None:
    """Another organisation sees its own doings only, whatever it asks for."""
    eve = client_of("eve", "audit:read", organization="other")
    assert {item["action"] for item in entries(eve)} == {"key.created"}
    assert entries(eve, f"subject={path.rpartition('/')[2]}") == []
