"""``webhook-trigger``: a run for each request to an address that only its key leads to.

Its config is read when a request comes (``services.webhooks``), not when a run begins: nothing in it is a template. The
key is made when the workflow is saved.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chalicelib.graph.credentials import REFERENCE
from chalicelib.graph.triggers import KEY_PATTERN, WEBHOOK_TRIGGER
from chalicelib.nodes.spec import NodeConfig, NodeType, VerbatimMarker
from chalicelib.nodes.triggers.manual_trigger import run

#: Base64, by itself or behind the prefix of Standard Webhooks; or the name of a credential that is such.
SIGNING_SECRET = rf"^({REFERENCE.pattern}|(whsec_)?[A-Za-z0-9+/]{{16,256}}={{0,2}})$"


class Config(NodeConfig):
    key: Annotated[str | None, Field(pattern=f"^{KEY_PATTERN}$"), VerbatimMarker()] = None
    secret: Annotated[str | None, Field(pattern=SIGNING_SECRET), VerbatimMarker()] = None


TYPE = NodeType(
    name=WEBHOOK_TRIGGER,
    title="Webhook trigger",
    category="triggers",
    description="Starts the workflow, while it is active, for each request to its address; its output is the request.",
    handler=run,
    config_model=Config,
    fusible=True,
    is_trigger=True,
    ports_in=(),
)
