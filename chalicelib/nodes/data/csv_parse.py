"""``csv-parse``: a list of objects out of comma-separated text with a header (RFC 4180)."""

from __future__ import annotations

import csv
import io
import sys

from chalicelib.foundation.errors import Permanent
from chalicelib.nodes.spec import NodeConfig, NodeContext, NodeType, Outcome

# The limit is that of the whole process. A field may be as long as its text, and texts are bounded already.
csv.field_size_limit(sys.maxsize)


class Config(NodeConfig):
    text: str


def run(context: NodeContext[Config]) -> Outcome:
    text = context.config.text.removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise Permanent("CsvError", f"line {reader.line_num}: {error}") from None
    if not rows:
        return Outcome([])
    header, *records = rows
    if len(set(header)) < len(header):
        raise Permanent("CsvError", f"a column name stands twice in the header: {', '.join(header)}")
    for number, record in enumerate(records, start=1):
        if len(record) > len(header):
            raise Permanent("CsvError", f"record {number} has {len(record)} values for {len(header)} columns")
    return Outcome(
        [{name: record[i] if i < len(record) else "" for i, name in enumerate(header)} for record in records]
    )


TYPE = NodeType(
    name="csv-parse",
    title="Parse CSV",
    category="data",
    description="Puts out a list of objects, one per record; every value is text.",
    handler=run,
    fusible=True,
    config_model=Config,
)
