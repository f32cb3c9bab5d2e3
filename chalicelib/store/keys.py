"""Every item of the one table, and every access pattern. Nothing else builds a key.

===============  ========================  ===================  ====================================================
item             pk                        sk                   read by
===============  ========================  ===================  ====================================================
workflow         ORG#<org>#WF#<id>         WORKFLOW             get
version          ORG#<org>#WF#<id>         VERSION#<number>     versions: one Query
version tag      ORG#<org>#WF#<id>         TAG#<tag>            nobody: its presence keeps a tag unique
home             WORKFLOW#<id>             WORKFLOW             a message that names nothing but a workflow: get
remains          ORG#<org>#WF#<id>         REMAINS              upkeep: what a deleted workflow has left
deployment       ORG#<org>#WF#<id>         DEPLOYMENT           its lifecycle, a trigger, upkeep: get
entry of an app  ORG#<org>#APP#<app>       <workflow id>        discover: one Query, then BatchGets of what it names
listing entry    ORG#<org>#LIST#<feed>     <createdAt>#<id>     list: one Query per feed, newest first
listing count    ORG#<org>#LIST#<feed>     COUNT[#<status>]     the same Query, or one BatchGet
execution        ORG#<org>#EXEC#<id>       EXECUTION            get; with the steps by one Query
step record      ORG#<org>#EXEC#<id>       STEP#<path>#<node>   the runner: one BatchGet for all that a node needs
gate             ORG#<org>#EXEC#<id>       GATE#<name>#<path>   what waits and what it waits for; all at a run's end
turn             ORG#<org>#TURNS#<id>      <step>#<key>         the agent, when it goes on after a failed attempt
reply            ORG#<org>#EXEC#<id>       REPLY#<gate>#<path>  what a step was told that waited for it: get
approval         ORG#<org>#APPROVAL        <id>                 get; those that are pending by an index
subscription     ORG#<org>#EVENT#<type>    <run>#<gate>#<path>  an event of the type: one Query
event pattern    ORG#<org>#EVENTS          <pattern>            the same: what of ``EVENT#`` has ``*`` in it
count of runs    ORG#<org>#LINE#<wf>       COUNT                of a workflow with a limit: one Query, with the line
place in line    ORG#<org>#LINE#<wf>       RUN#<order>          the same: runs that wait, who is first comes first
event trigger    ORG#<org>#TRIGGER#<type>  <workflow>#<node>    an event of the type: one Query
pattern ends     ORG#<org>#TRIGGERS        ENDS                 the same: which partitions have patterns for it
webhook          WEBHOOK#<key>             WEBHOOK              a request to it: whose it is is not known before
webhook's rate   WEBHOOK#<key>             RATE#<seconds>       its requests of one minute are counted there
address          ADDRESS#<address>         ADDRESS              a mail to it: the same
schedules        ORG#<org>#WF#<id>         SCHEDULES            upkeep: whose schedules are to be looked after
idempotency key  ORG#<org>#IDEMPOTENCY     <key>                execute
audit entry      ORG#<org>#AUDIT#<of>      <at>#<id>            what was done to one thing, newest first
credential       ORG#<org>#CREDENTIALS     <name>               the node that names it; all of an organisation
API key          KEY#<sha256>              KEY                  authentication: who asks is not known before
API key by id    ORG#<org>#KEYS            <key id>             the keys of an organisation
state machine    MACHINE#<name>            MACHINE              the start of a run; upkeep, when it is long not used
survey           UPKEEP#MACHINES           SURVEY               upkeep: how far it has listed all state machines
===============  ========================  ===================  ====================================================

A feed is a list that somebody may ask for: ``all`` (for administrators), ``user#<id>`` (what a user owns or has been
given), ``public``; each also by tag, as ``user#<id>|etl``. Five local indexes put its entries in other orders, by
status first where a status is asked for; see ``LISTING_ORDERS``. In the base order, and in that of a status, counts
sort right behind the newest entry, so that one Query from the end brings both.

Pending approvals are listed by ``by-organization`` (``orgList`` = ORG#<org>#APPROVALS), newest first; decided ones have
no ``orgList``.

The execution of a run that was recorded whole may hold its steps, see ``whole_runs``: as long as it does, nobody reads
step records beside it.

Executions are listed by two indexes, newest first (``listKey``): ``by-organization`` (``orgList`` = ORG#<org>) and
``by-workflow`` (``workflowList`` = ORG#<org>#WF#<id>). The first lists audit entries too (``orgList`` =
ORG#<org>#AUDIT).

What upkeep has to look at some time stands in ``by-due``, earliest first (``dueAt``). Runs that have not ended are
spread over a few partitions (``dueList`` = RUNS#<n>): all of them are written there, whoever starts them. State
machines stand there with the time when they may be superfluous (``dueList`` = MACHINES), deleted workflows with the one
when what they have left goes (``dueList`` = REMAINS), counts of runs as long as any may wait (``dueList`` = LINES),
workflows with schedules with the time of the next look after those (``dueList`` = SCHEDULES), deployments as long as
anything of them is in the cluster (``dueList`` = DEPLOYMENTS).

Patterns of event triggers stand in partitions by their ends, as ``order.*``; see ``graph.events.ends_of``.

Every key of what belongs to somebody begins with the organisation, but of what strangers know it by (an API key, a
webhook, an address, a workflow's id alone): a read that forgets to check whose it is finds nothing of anybody else's.
State machines belong to nobody: all workflows of one shape share one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict
from zlib import crc32

from chalicelib.graph.executions import MAX_PRIORITY, StepRecord
from chalicelib.graph.model import Workflow, WorkflowStatus

BY_ORGANIZATION = "by-organization"
BY_WORKFLOW = "by-workflow"
BY_DUE = "by-due"

COUNT = "COUNT"  # sorts behind every timestamp
COUNTS = 1 + len(WorkflowStatus)  # of a feed: of all its entries, and by status

EXECUTION = "EXECUTION"
GATE_PREFIX = "GATE#"
REPLY_PREFIX = "REPLY#"
STEP_PREFIX = "STEP#"
WITHIN_LOOPS = f"{STEP_PREFIX}["  # steps of loops' items, behind all else of a run
VERSION_PREFIX = "VERSION#"

TEMPLATES = "\x1ftemplates"  # stands where a tag may stand in a feed, and is none: no tag has a control character

ALL = "all"
PUBLIC = "public"


class Key(TypedDict):
    pk: str
    sk: str


DUE_MACHINES = "MACHINES"
DUE_REMAINS = "REMAINS"
DUE_LINES = "LINES"
DUE_SCHEDULES = "SCHEDULES"
DUE_DEPLOYMENTS = "DEPLOYMENTS"
SURVEY: Key = {"pk": "UPKEEP#MACHINES", "sk": "SURVEY"}
_MACHINE_PREFIX = "MACHINE#"


def workflow(organization_id: str, workflow_id: str) -> Key:
    return {"pk": f"ORG#{organization_id}#WF#{workflow_id}", "sk": "WORKFLOW"}


def home(workflow_id: str) -> Key:
    """Whose a workflow is."""
    return {"pk": f"WORKFLOW#{workflow_id}", "sk": "WORKFLOW"}


def version(organization_id: str, workflow_id: str, number: int) -> Key:
    return {**workflow(organization_id, workflow_id), "sk": f"{VERSION_PREFIX}{number:010}"}


def version_tag(organization_id: str, workflow_id: str, tag: str) -> Key:
    return {**workflow(organization_id, workflow_id), "sk": f"TAG#{tag}"}


def audit(organization_id: str, subject: str, at: str, entry_id: str) -> Key:
    return {"pk": f"ORG#{organization_id}#AUDIT#{subject}", "sk": f"{at}#{entry_id}"}


def audit_of_organization(organization_id: str) -> str:
    return f"ORG#{organization_id}#AUDIT"


def user_feed(user_id: str) -> str:
    return f"user#{user_id}"


def feed(name: str, tag: str | None = None) -> str:
    return name if tag is None else f"{name}|{tag}"


def feeds_of(item: Workflow) -> Iterator[str]:
    """Every feed in which a workflow stands."""
    names = [ALL, *(user_feed(user) for user in sorted({item.owner_id, *item.shared_with}))]
    if item.is_public:
        names.append(PUBLIC)
    for name in names:
        yield feed(name)
        yield from (feed(name, tag) for tag in item.tags)
        if item.is_template:
            yield feed(name, TEMPLATES)


def listing(organization_id: str, feed_name: str) -> str:
    """The partition of a feed."""
    return f"ORG#{organization_id}#LIST#{feed_name}"


@dataclass(frozen=True)
class ListingOrder:
    """One order of a feed's entries: an index, and the attribute that it sorts by."""

    index: str | None
    attribute: str


#: By what a list is sorted by, and whether it asks for one status.
LISTING_ORDERS = {
    ("createdAt", False): ListingOrder(None, "sk"),
    ("updatedAt", False): ListingOrder("by-updated", "updatedKey"),
    ("name", False): ListingOrder("by-name", "nameKey"),
    ("createdAt", True): ListingOrder("by-status", "statusKey"),
    ("updatedAt", True): ListingOrder("by-status-updated", "statusUpdatedKey"),
    ("name", True): ListingOrder("by-status-name", "statusNameKey"),
}
_NAME_CHARS = 100  # of a name, by which it is sorted: a key of an index holds 1,024 bytes


def listing_entry(organization_id: str, feed_name: str, created_at: str, workflow_id: str) -> Key:
    return {"pk": listing(organization_id, feed_name), "sk": f"{created_at}#{workflow_id}"}


def listing_sort_keys(item: Workflow) -> dict[str, str]:
    """The attributes by which the indexes sort an entry. Names sort without regard to case, the shorter one first."""
    name = f"{item.name.casefold()[:_NAME_CHARS]}\x00{item.id}"
    updated = f"{item.updated_at}#{item.id}"
    return {
        "updatedKey": updated,
        "nameKey": name,
        "statusKey": f"{item.status}#{item.created_at}#{item.id}",
        "statusUpdatedKey": f"{item.status}#{updated}",
        "statusNameKey": f"{item.status}#{name}",
    }


def listing_count(organization_id: str, feed_name: str, status: str | None = None) -> Key:
    return {"pk": listing(organization_id, feed_name), "sk": COUNT if status is None else f"{COUNT}#{status}"}


def status_count_sort_key(status: str) -> str:
    """Where the count of a status stands in the order ``by-status``: behind its newest entry."""
    return f"{status}#{COUNT}"


def execution(organization_id: str, execution_id: str) -> Key:
    return {"pk": f"ORG#{organization_id}#EXEC#{execution_id}", "sk": EXECUTION}


def step(organization_id: str, execution_id: str, path: str, node_id: str) -> Key:
    # The path comes first: it is made of digits and brackets alone, so no node id can pretend to be another's
    # iteration.
    return {"pk": f"ORG#{organization_id}#EXEC#{execution_id}", "sk": f"{STEP_PREFIX}{path}#{node_id}"}


def gate(organization_id: str, execution_id: str, name: str, path: str) -> Key:
    """``stepfn_templates/gate.json`` builds the same one, as a state machine has to."""
    return {"pk": f"ORG#{organization_id}#EXEC#{execution_id}", "sk": f"{GATE_PREFIX}{name}#{path}"}


def turn(organization_id: str, execution_id: str, step: StepRecord, key: str) -> Key:
    """``<step>`` is path, node and the moment at which the step began; ``key`` holds no ``#``."""
    name = f"{step.path}#{step.started_at}#{step.node_id}"
    return {"pk": f"ORG#{organization_id}#TURNS#{execution_id}", "sk": f"{name}#{key}"}


def reply(organization_id: str, execution_id: str, gate_name: str, path: str) -> Key:
    return {"pk": f"ORG#{organization_id}#EXEC#{execution_id}", "sk": f"{REPLY_PREFIX}{gate_name}#{path}"}


def approval(organization_id: str, approval_id: str) -> Key:
    return {"pk": f"ORG#{organization_id}#APPROVAL", "sk": approval_id}


def pending_approvals(organization_id: str) -> str:
    return f"ORG#{organization_id}#APPROVALS"


def subscription(organization_id: str, pattern: str, execution_id: str, gate_name: str, path: str) -> Key:
    return {"pk": f"ORG#{organization_id}#EVENT#{pattern}", "sk": f"{execution_id}#{gate_name}#{path}"}


def event_pattern(organization_id: str, pattern: str) -> Key:
    return {"pk": f"ORG#{organization_id}#EVENTS", "sk": pattern}


def event_trigger(organization_id: str, event_type: str, workflow_id: str, node_id: str) -> Key:
    """``event_type``: a type, which has no ``*``, or the ends of a pattern with one between them."""
    return {"pk": f"ORG#{organization_id}#TRIGGER#{event_type}", "sk": f"{workflow_id}#{node_id}"}


def pattern_ends(organization_id: str) -> Key:
    return {"pk": f"ORG#{organization_id}#TRIGGERS", "sk": "ENDS"}


def webhook(key: str) -> Key:
    return {"pk": f"WEBHOOK#{key}", "sk": "WEBHOOK"}


def webhook_rate(key: str, window: int) -> Key:
    return {**webhook(key), "sk": f"RATE#{window}"}


def address(name: str) -> Key:
    return {"pk": f"ADDRESS#{name}", "sk": "ADDRESS"}


def schedules(organization_id: str, workflow_id: str) -> Key:
    return {**workflow(organization_id, workflow_id), "sk": "SCHEDULES"}


def deployment(organization_id: str, workflow_id: str) -> Key:
    return {**workflow(organization_id, workflow_id), "sk": "DEPLOYMENT"}


def app_entry(organization_id: str, app_id: str, workflow_id: str) -> Key:
    return {"pk": f"ORG#{organization_id}#APP#{app_id}", "sk": workflow_id}


def count_of_runs(organization_id: str, workflow_id: str) -> Key:
    return {"pk": f"ORG#{organization_id}#LINE#{workflow_id}", "sk": COUNT}


def place_in_line(organization_id: str, workflow_id: str, priority: int, since: str, execution_id: str) -> Key:
    """``<order>`` is priority, the highest first, then time. Every place sorts behind the count."""
    order = f"{MAX_PRIORITY - priority:07}#{since}#{execution_id}"
    return {**count_of_runs(organization_id, workflow_id), "sk": f"RUN#{order}"}


def partitions_of_run(organization_id: str, execution_id: str) -> tuple[str, ...]:
    """Where all lies that is kept as long as a run is."""
    return (f"ORG#{organization_id}#EXEC#{execution_id}", f"ORG#{organization_id}#TURNS#{execution_id}")


def remains(organization_id: str, workflow_id: str) -> Key:
    return {**workflow(organization_id, workflow_id), "sk": "REMAINS"}


def executions_of_organization(organization_id: str) -> str:
    return f"ORG#{organization_id}"


def executions_of_workflow(organization_id: str, workflow_id: str) -> str:
    return f"ORG#{organization_id}#WF#{workflow_id}"


_RUNS_PARTITIONS = 8  # a partition takes a thousand writes in a second, and a run makes a few


def due_runs(execution_id: str) -> str:
    """The partition of ``by-due`` in which a run stands until it has ended."""
    return f"RUNS#{crc32(execution_id.encode()) % _RUNS_PARTITIONS}"


def all_due_runs() -> list[str]:
    return [f"RUNS#{number}" for number in range(_RUNS_PARTITIONS)]


def machine(name: str) -> Key:
    return {"pk": f"{_MACHINE_PREFIX}{name}", "sk": "MACHINE"}


def machine_name(key: Key) -> str:
    return key["pk"].removeprefix(_MACHINE_PREFIX)


def idempotency(organization_id: str, key: str) -> Key:
    return {"pk": f"ORG#{organization_id}#IDEMPOTENCY", "sk": key}


def api_key(digest: str) -> Key:
    return {"pk": f"KEY#{digest}", "sk": "KEY"}


def api_key_of_organization(organization_id: str, key_id: str) -> Key:
    return {"pk": f"ORG#{organization_id}#KEYS", "sk": key_id}


def credential(organization_id: str, name: str) -> Key:
    return {"pk": f"ORG#{organization_id}#CREDENTIALS", "sk": name}
