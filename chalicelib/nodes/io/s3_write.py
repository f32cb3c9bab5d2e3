"""``s3-write``: an object in S3."""

from __future__ import annotations

from itertools import chain
from typing import Annotated, Any

from pydantic import Field

from chalicelib.foundation.json_text import unquoted
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome, PassedMarker


class Config(NodeConfig):
    bucket: Annotated[str, Field(min_length=3, max_length=255)]
    key: Annotated[str, Field(min_length=1, max_length=1024)]
    body: Annotated[Any, PassedMarker()]


def run(context: NodeContext[Config]) -> Outcome:
    config = context.config
    text = context.values.text(config.body)
    first = next(text)
    text = chain([first], text)
    is_text = first.startswith(b'"')
    body, kind = (unquoted(text), "text/plain; charset=utf-8") if is_text else (text, "application/json")
    written = context.capabilities.objects.write(config.bucket, config.key, body, kind)
    return Outcome({"bucket": config.bucket, "key": config.key, "size": written.size, "etag": written.etag})


TYPE = NodeType(
    name="s3-write",
    title="Write to S3",
    category="io",
    description="Writes text as it is, and any other value as JSON.",
    handler=run,
    duration=2,
    config_model=Config,
    scopes=("s3:write:{bucket}",),
)
