"""``s3-read``: the text of an object in S3."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chalicelib.foundation.errors import Permanent
from chalicelib.foundation.json_text import checked, quoted
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome


class Config(NodeConfig):
    bucket: Annotated[str, Field(min_length=3, max_length=255)]
    key: Annotated[str, Field(min_length=1, max_length=1024)]


def run(context: NodeContext[Config]) -> Outcome:
    config = context.config
    found = context.capabilities.objects.read(config.bucket, config.key)
    is_json = found.content_type.partition(";")[0].strip().lower().endswith(("/json", "+json"))
    try:
        return Outcome(context.values.keep(checked(found.body) if is_json else quoted(found.body)))
    except UnicodeDecodeError:
        raise Permanent("NotText", f"s3://{config.bucket}/{config.key} is not UTF-8 text") from None
    except ValueError as error:
        raise Permanent("JsonError", f"s3://{config.bucket}/{config.key}: {error}") from None


TYPE = NodeType(
    name="s3-read",
    title="Read from S3",
    category="io",
    description="Puts out the text of an object, parsed where its type is JSON.",
    handler=run,
    duration=2,
    config_model=Config,
    scopes=("s3:read:{bucket}",),
)
