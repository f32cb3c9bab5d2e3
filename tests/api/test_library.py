"""Workflows as a library: versions, sharing, copies, templates, numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chalicelib.bootstrap import Services
from chalicelib.foundation.clock import parse_timestamp
from chalicelib.services.access import Principal
from chalicelib.services.sharing import MAX_SHARES
from chalicelib.services.templates import built_in_templates
from tests.api.client import Api
from tests.fakes import graph, node

WORKFLOWS = "/api/v1/workflows"
GRAPH = graph([node("t", "manual-trigger"), node("a", expression="trigger.n")], "t -> a")
OTHER = graph([node("z")])
EXAMPLES = Path(__file__).parents[2] / "examples"


def create(api: Api, **fields: Any) -> str:
    answer = api.post(WORKFLOWS, {"name": "w", **GRAPH, **fields})
    assert answer.status == 201, answer.text
    return f"{WORKFLOWS}/{answer.json['workflowId']}"


def timeless(whole: dict[str, Any]) -> dict[str, Any]:
    return whole | {"updatedAt": ""}


def test_the_first_version_is_there_from_the_start(api: Api) -> None:
    """A new workflow has version 1, without a tag; so has a copy."""
    path = create(api)
    copy = f"{WORKFLOWS}/{api.post(f'{path}/duplicate').json['workflowId']}"
    for one in (path, copy):
        listed = api.get(f"{one}/versions").json
        assert (listed["workflowId"], listed["currentVersion"]) == (one.rpartition("/")[2], 1)
        (first,) = listed["versions"]
        assert (first["version"], first["versionTag"], first["createdBy"]) == (1, None, "ann")
        assert first["createdAt"] == api.get(one).json["createdAt"]


def test_a_version_counts(api: Api, client_of: Callable[..., Api]) -> None:
    """Each snapshot is one more, says who made it and what for, and is the current one."""
    path = create(api)
    api.post(f"{path}/share", {"userId": "bob"})
    made = api.post(f"{path}/versions", {"versionTag": "v1.0.0", "description": "Initial version"})
    assert made.json == {"workflowId": path.rpartition("/")[2], "version": 2, "versionTag": "v1.0.0"}
    assert client_of("bob").post(f"{path}/versions", {"versionTag": "v1.1.0"}).json["version"] == 3
    assert api.get(path).json["version"] == 3
    listed = api.get(f"{path}/versions").json
    assert listed["currentVersion"] == 3
    assert [(item["version"], item["versionTag"]) for item in listed["versions"]] == [
        (1, None), (2, "v1.0.0"), (3, "v1.1.0"),
    ]  # fmt: skip
    assert [(item["description"], item["createdBy"]) for item in listed["versions"][1:]] == [
        ("Initial version", "ann"), ("", "bob"),
    ]  # fmt: skip
    assert [parse_timestamp(item["createdAt"]) for item in listed["versions"]]


def test_a_tag_names_one_version(api: Api) -> None:
    """A second one of the same tag is 409 and counts for nothing; other workflows have tags of their own."""
    path = create(api)
    assert api.post(f"{path}/versions", {"versionTag": "v1"}).status == 201
    etag = api.get(path).headers["etag"]
    again = api.post(f"{path}/versions", {"versionTag": "v1", "description": "again"})
    assert again.status == 409
    assert "v1" in again.json["detail"]
    assert api.get(path).headers["etag"] == etag
    assert len(api.get(f"{path}/versions").json["versions"]) == 2
    assert api.post(f"{path}/versions", {"versionTag": "V1"}).status == 201
    assert api.post(f"{create(api)}/versions", {"versionTag": "v1"}).status == 201


def test_a_version_is_gone_back_to(api: Api) -> None:
    """PUT of its number brings graph, config and settings back; name and tags, the count and the versions stay."""
    path = create(api, config={"k": 1}, settings={"timeout": 60, "maxRetries": 2})
    first = api.get(path).json
    api.put(path, {**OTHER, "name": "n", "tags": ["x"], "config": {}, "settings": {"timeout": 5, "maxRetries": None}})
    api.post(f"{path}/versions", {"versionTag": "v2"})
    second = api.get(path).json
    assert second["nodes"] != first["nodes"]
    back = api.put(path, {"version": 1}).json
    for name in ("nodes", "connections", "config", "settings"):
        assert back[name] == first[name]
    for name in ("name", "tags", "version"):
        assert back[name] == second[name]
    assert api.get(f"{path}/versions").json["currentVersion"] == 2
    assert api.post(f"{path}/versions", {"versionTag": "v3"}).json["version"] == 3
    forth = api.put(path, {"version": 2, "name": "m", "settings": {"timeout": 7}}).json
    assert (forth["nodes"], forth["name"], forth["settings"]) == (second["nodes"], "m", {"timeout": 7})


def test_a_version_never_changes(api: Api) -> None:
    """Later edits, and versions of later content, leave what it gives back as it was."""
    path = create(api)
    first = api.get(path).json
    for number in range(3):
        api.put(path, {"nodes": [node(f"n{number}")], "connections": []})
        api.post(f"{path}/versions", {"versionTag": f"v{number}"})
    assert api.put(path, {"version": 3}).json["nodes"][0]["id"] == "n1"
    assert api.put(path, {"version": 1}).json["nodes"] == first["nodes"]


def test_a_version_that_there_is_not(api: Api) -> None:
    """400 that says so; and no version of another workflow's is given."""
    path = create(api)
    api.post(f"{create(api)}/versions", {"versionTag": "v2"})
    answer = api.put(path, {"version": 2, "name": "n"})
    assert (answer.status, [fault["path"] for fault in answer.json["errors"]]) == (400, ["version"])
    assert api.get(path).json["name"] == "w"


def test_an_active_workflow_goes_back_to_no_errors(api: Api) -> None:
    """A version with errors is not restored while the workflow is active."""
    path = create(api, **graph([node("a", "no-such-type")]))
    api.put(path, OTHER)
    api.post(f"{path}/versions", {"versionTag": "v2"})
    assert api.put(f"{path}/status", {"status": "active"}).status == 200
    assert api.put(path, {"version": 1}).status == 409
    assert api.get(path).json["nodes"][0]["id"] == "z"


def test_put_of_what_was_read_changes_nothing(api: Api) -> None:
    """All of an answer of GET may be sent back, its ``version`` too: all but the time of the change stays."""
    path = create(
        api, tags=["a", "b"], config={"k": {"l": None}}, settings={"timeout": 5}, isPublic=True, isTemplate=True
    )
    api.post(f"{path}/versions", {"versionTag": "v2"})
    api.post(f"{path}/share", {"userId": "bob"})
    api.post(f"{path}/nodes", {"nodeId": "log"})
    before = api.get(path).json
    assert timeless(api.put(path, before).json) == timeless(before)
    assert timeless(api.get(path).json) == timeless(before)


def test_sharing(api: Api, client_of: Callable[..., Api]) -> None:
    """Who has it and since when; twice is once, and taking it from who does not have it changes nothing."""
    path = create(api)
    assert api.get(f"{path}/share").json["sharedWith"] == []
    shared = api.post(f"{path}/share", {"userId": "bob"})
    assert shared.json == {
        "message": "Workflow shared successfully", "workflowId": path.rpartition("/")[2], "userId": "bob",
    }  # fmt: skip
    listed = api.get(f"{path}/share").json
    assert listed["workflowId"] == path.rpartition("/")[2]
    (entry,) = listed["sharedWith"]
    assert entry["userId"] == "bob"
    assert parse_timestamp(entry["sharedAt"])
    etag = api.get(path).headers["etag"]
    assert api.post(f"{path}/share", {"userId": "bob"}).json == shared.json
    assert api.delete(f"{path}/share/nobody").status == 204
    assert api.get(f"{path}/share").json == listed
    assert api.get(path).headers["etag"] == etag
    assert api.get(path).json["sharedWith"] == ["bob"]
    assert client_of("bob").get(f"{path}/share").json == listed
    gone = api.delete(f"{path}/share/bob")
    assert (gone.status, gone.text) == (204, "")
    assert api.get(f"{path}/share").json["sharedWith"] == []
    assert client_of("bob").get(path).status == 404


def test_sharing_with_oneself(api: Api, client_of: Callable[..., Api]) -> None:
    """400 for the caller and for the owner, whom an administrator may not add either."""
    path = create(api)
    root = client_of("root", "workflows:write", "workflows:admin")
    for client, user in ((api, "ann"), (root, "root"), (root, "ann")):
        answer = client.post(f"{path}/share", {"userId": user})
        assert (answer.status, answer.json["errors"][0]["path"]) == (400, "userId")
    assert root.post(f"{path}/share", {"userId": "bob"}).status == 200


def test_who_has_it_reads_edits_and_executes(api: Api, client_of: Callable[..., Api]) -> None:
    """And does not delete it, nor give it on or away."""
    path = create(api)
    bob = client_of("bob")
    assert bob.get(path).status == 404
    api.post(f"{path}/share", {"userId": "bob"})
    assert bob.get(path).status == 200
    assert bob.get(WORKFLOWS).json["count"] == 1
    assert bob.put(path, {"description": "by bob"}).status == 200
    assert bob.post(f"{path}/nodes", {"nodeId": "log"}).status == 201
    assert bob.post(f"{path}/execute", {"triggerInputs": {"n": 1}}).status == 201
    assert bob.post(f"{path}/duplicate").status == 201
    for refused in (
        bob.delete(path),
        bob.post(f"{path}/share", {"userId": "cy"}),
        bob.delete(f"{path}/share/bob"),
    ):
        assert refused.status == 403
    assert api.get(path).json["sharedWith"] == ["bob"]


def test_there_is_a_bound_to_sharing(api: Api, deployed: Services) -> None:
    """With so many users and no more: the one too many is 409, one who has it already is not."""
    path = create(api)
    users = tuple(f"u{number:03d}" for number in range(MAX_SHARES))
    before = deployed.workflows.find(Principal("acme", "ann", frozenset()), path.rpartition("/")[2])
    at = dict.fromkeys(users, before.created_at)
    deployed.workflows._repository.replace(before, replace(before, shared_with=users[1:], shared_at=at))
    assert api.post(f"{path}/share", {"userId": users[0]}).status == 200
    assert api.post(f"{path}/share", {"userId": "late"}).status == 409
    assert api.post(f"{path}/share", {"userId": users[-1]}).status == 200
    assert {item["userId"] for item in api.get(f"{path}/share").json["sharedWith"]} == set(users)


def test_a_copy_is_a_draft_of_ones_own(api: Api, client_of: Callable[..., Api]) -> None:
    """Graph, config, settings and tags are the original's; readers, status, publicity and past are not."""
    fields = {"description": "d", "tags": ["etl"], "config": {"k": 1}, "settings": {"timeout": 9}}
    path = create(api, status="active", isPublic=True, isTemplate=True, **fields)
    api.post(f"{path}/share", {"userId": "cy"})
    api.post(f"{path}/versions", {"versionTag": "v2"})
    source = api.get(path).json
    bob = client_of("bob")
    made = bob.post(f"{path}/duplicate")
    assert made.headers["etag"] == '"1"'
    copy = bob.get(f"{WORKFLOWS}/{made.json['workflowId']}").json
    assert copy["id"] != source["id"]
    for name in ("nodes", "connections", "config", "settings", "tags", "description", "scopes"):
        assert copy[name] == source[name]
    assert (copy["name"], copy["status"], copy["version"], copy["ownerId"]) == ("w (copy)", "draft", 1, "bob")
    assert (copy["isPublic"], copy["isTemplate"], copy["sharedWith"]) == (False, False, [])
    assert api.get(f"{WORKFLOWS}/{copy['id']}").status == 404
    assert api.get(path).json == source


def test_a_long_name_leaves_room_for_what_says_copy(api: Api) -> None:
    """The copy of a copy has a name that a workflow may have."""
    path = create(api, name="x" * 256)
    copy = api.get(f"{WORKFLOWS}/{api.post(f'{path}/duplicate').json['workflowId']}").json
    assert len(copy["name"]) == 256
    assert copy["name"].endswith("x (copy)")


def test_the_gallery(api: Api) -> None:
    """Every file of ``examples/`` is a template, for everyone; and each comes to a workflow that is valid."""
    templates = {item["id"]: item for item in api.get(f"{WORKFLOWS}/templates").json["templates"]}
    files = sorted(EXAMPLES.glob("*.json"))
    assert len(templates) == len(files)
    for file in files:
        body = json.loads(file.read_text())["workflow"]
        template = templates[f"wf_tmpl_{file.stem.replace('-', '_')}"]
        assert (template["name"], template["tags"]) == (body["name"], body["tags"])
        assert len(template["nodes"]) == len(body["nodes"])
        made = api.post(f"{WORKFLOWS}/{template['id']}/duplicate")
        copy = f"{WORKFLOWS}/{made.json['workflowId']}"
        whole = api.get(copy).json
        assert whole["name"] == f"{body['name']} (copy)"
        assert (whole["ownerId"], whole["organizationId"], whole["status"]) == ("ann", "acme", "draft")
        assert (whole["nodes"], whole["connections"]) == (template["nodes"], template["connections"])
        judged = api.post(f"{copy}/validate").json
        assert (judged["valid"], judged["warnings"]) == (True, [])


def test_a_built_in_template_is_no_workflow(api: Api) -> None:
    """It is copied, and nothing else: it cannot be read, changed or run in its place."""
    identifier = next(iter(built_in_templates()))
    path = f"{WORKFLOWS}/{identifier}"
    for answer in (api.get(path), api.put(path, {"name": "n"}), api.delete(path), api.post(f"{path}/execute")):
        assert answer.status == 404
    assert api.get(WORKFLOWS).json["count"] == 0
    assert api.post(f"{WORKFLOWS}/wf_tmpl_none/duplicate").status == 404


def test_templates_of_users(api: Api, client_of: Callable[..., Api]) -> None:
    """A workflow that is marked is listed for who may see it, behind the built-in ones, newest first."""
    built_in = len(built_in_templates())
    create(api, name="none")
    mine = [create(api, name=f"t{number}", isTemplate=True) for number in range(3)]
    answer = api.get(f"{WORKFLOWS}/templates").json
    assert answer["count"] == built_in + 3 == len(answer["templates"])
    own = answer["templates"][built_in:]
    assert {item["id"] for item in own} == {path.rpartition("/")[2] for path in mine}
    moments = [item["createdAt"] for item in own]
    assert moments == sorted(moments, reverse=True)
    bob = client_of("bob")
    assert bob.get(f"{WORKFLOWS}/templates").json["count"] == built_in
    api.put(mine[0], {"isPublic": True})
    api.post(f"{mine[1]}/share", {"userId": "bob"})
    assert bob.get(f"{WORKFLOWS}/templates").json["count"] == built_in + 2
    assert bob.post(f"{mine[0]}/duplicate").status == 201
    api.put(mine[0], {"isTemplate": False})
    api.delete(mine[1])
    assert bob.get(f"{WORKFLOWS}/templates").json["count"] == built_in


def test_stats_count_the_organisation(api: Api, client_of: Callable[..., Api]) -> None:
    """By status and in sum, whoever owns them and whoever asks; nothing of another organisation."""
    nothing = {"total": 0, "active": 0, "paused": 0, "draft": 0, "archived": 0}
    assert api.get(f"{WORKFLOWS}/stats").json == nothing
    create(api)
    create(api, status="active")
    paused = create(client_of("bob"), status="paused")
    gone = create(api, status="archived")
    expected = {"total": 4, "active": 1, "paused": 1, "draft": 1, "archived": 1}
    assert api.get(f"{WORKFLOWS}/stats").json == client_of("cy").get(f"{WORKFLOWS}/stats").json == expected
    api.delete(gone)
    client_of("bob").put(f"{paused}/status", {"status": "active"})
    assert api.get(f"{WORKFLOWS}/stats").json == {"total": 3, "active": 2, "paused": 0, "draft": 1, "archived": 0}
    assert client_of("ann", organization="other").get(f"{WORKFLOWS}/stats").json == nothing


@pytest.mark.parametrize("name", ["templates", "stats"])
def test_words_of_the_path_are_no_ids(api: Api, name: str) -> None:
    """Nothing can be stored or found under the names that the paths give to other things."""
    assert api.put(f"{WORKFLOWS}/{name}/status", {"status": "active"}).status == 404
