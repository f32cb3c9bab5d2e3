"""The query of a list of workflows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

from chalicelib.api.paging import QueryReader
from chalicelib.graph.listing import ListQuery
from chalicelib.graph.model import WorkflowStatus

_STATUSES = {str(status): status for status in WorkflowStatus}
_SORTS = {
    f"{field}{suffix}": (field, descending)
    for field in ("createdAt", "updatedAt", "name")
    for suffix, descending in (("", False), (":asc", False), (":desc", True))
}
_DEFAULT_SORT = "createdAt:desc"


def list_query(query: Mapping[str, str]) -> ListQuery:
    """Raises ``InvalidInput`` with all that is wrong."""
    reader = QueryReader(query)
    page = reader.page()
    status = reader.choice("status", _STATUSES)
    field, descending = reader.choice("sort", _SORTS) or _SORTS[_DEFAULT_SORT]
    reader.check()
    return ListQuery(
        limit=page.limit,
        offset=page.offset,
        status=status,
        tag=reader.text("tag"),
        search=reader.text("search"),
        sort=cast('Literal["createdAt", "updatedAt", "name"]', field),
        descending=descending,
    )
