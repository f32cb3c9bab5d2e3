"""``s3-write``: an object in S3."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from chalicelib.foundation.json_types import dumps
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome


class Config(NodeConfig):
    bucket: Annotated[str, Field(min_length=3, max_length=255)]
    key: Annotated[str, Field(min_length=1, max_length=1024)]
    body: Any


def run(context: NodeContext[Config]) -> Outcome:
    config = context.config
    is_text = isinstance(config.body, str)
    body = (config.body if is_text else dumps(config.body)).encode()
    kind = "text/plain; charset=utf-8" if is_text else "application/json"
    etag = context.capabilities.objects.write(config.bucket, config.key, body, kind)
    return Outcome({"bucket": config.bucket, "key": config.key, "size": len(body), "etag": etag})


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
