"""The DynamoDB table: the few operations that the repositories are made of, in plain Python values.

Errors of the SDK end here: a condition that did not hold is ``ConditionFailed``, with the item that stood in the way;
anything else is ``Downstream``. Two transactions that met are tried again, because either order is right.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from chalicelib.foundation.errors import Downstream, DownstreamTimeout, MillraceError
from chalicelib.foundation.json_types import dumps
from chalicelib.store.keys import Key

Item = dict[str, Any]

BATCH_GET_KEYS = 100  # DynamoDB's own bound on one BatchGetItem
BATCH_WRITE_ITEMS = 25  # and on one BatchWriteItem
TRANSACTION_ITEMS = 100  # and on one TransactWriteItems
TRIES = 12  # at two transactions that meet, or keys that a batch left over
BACKOFF_S = 0.02

NO_ANSWER = "DynamoDB did not answer in time."
TOO_MANY = "DynamoDB has too many writes of the same items at this moment."


class ConditionFailed(MillraceError):
    """An item was not as a write demanded."""

    code = "condition-failed"

    def __init__(self, old: Item | None = None, index: int = 0) -> None:
        self.old = old  #: the item that stood in the way; None if there was none
        self.index = index  #: which write of a transaction
        super().__init__()


class Refused(Downstream):
    """DynamoDB does not do what it was asked to, and would not if it was asked again."""


_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Write(NamedTuple):
    """One write, alone or of a transaction.

    Expressions are DynamoDB's, with ``#name`` and ``:name`` for what ``values`` and
    ``names`` hold.
    """

    kind: str  # "Put", "Update", "Delete" or "ConditionCheck"
    key: Key
    item: Item | None = None  # of a Put: the whole item, its key included
    update: str | None = None
    condition: str | None = None
    values: Mapping[str, Any] = _NOTHING
    names: Mapping[str, str] = _NOTHING
    text: str | None = None  # of a Put, instead of ``item``: the item as JSON text in DynamoDB's own encoding


def put(item: Item, condition: str | None = None, /, **values: Any) -> Write:
    return Write("Put", {"pk": item["pk"], "sk": item["sk"]}, item=item, condition=condition, values=values)


def update(key: Key, expression: str, condition: str | None = None, /, **values: Any) -> Write:
    return Write("Update", key, update=expression, condition=condition, values=values)


def delete(key: Key, condition: str | None = None, /, **values: Any) -> Write:
    return Write("Delete", key, condition=condition, values=values)


ABSENT = "attribute_not_exists(pk)"
PRESENT = "attribute_exists(pk)"

# Words that DynamoDB keeps for itself, and that our attributes use: written with # everywhere.
_RESERVED = (
    "status",
    "name",
    "error",
    "output",
    "items",
    "count",
    "until",
    "path",
    "scopes",
    "plan",
    "trigger",
    "type",
    "label",
    "port",
    "public",
    "comment",
    "order",
)


class Table:
    def __init__(self, client: Any, name: str, sleep: Callable[[float], None] = time.sleep) -> None:
        from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

        self._client = client
        self._name = name
        self._sleep = sleep
        self._encode_other = TypeSerializer().serialize
        self._decode_value = TypeDeserializer().deserialize

    def get(self, key: Key) -> Item | None:
        answer = self._call("get_item", TableName=self._name, Key=self._encode(key), ConsistentRead=True)
        return self.decode(answer["Item"]) if "Item" in answer else None

    def get_many(self, keys: Sequence[Key]) -> list[Item]:
        """The items that exist, in no order; one call for each hundred keys."""
        found: list[Item] = []
        for chunk in _chunks(keys, BATCH_GET_KEYS):
            wanted: Any = {self._name: {"Keys": [self._encode(key) for key in chunk], "ConsistentRead": True}}
            for attempt in range(TRIES):
                answer = self._call("batch_get_item", RequestItems=wanted)
                found += [self.decode(item) for item in answer["Responses"].get(self._name, ())]
                wanted = answer.get("UnprocessedKeys")
                if not wanted:
                    break
                self._back_off(attempt)
            else:
                raise Downstream("DynamoDB left keys of a batch unread.")
        return found

    def query(
        self,
        pk: str,
        *,
        index: str | None = None,
        consistent: bool | None = None,
        pk_name: str = "pk",
        prefix: tuple[str, str] | None = None,
        at_most: tuple[str, str] | None = None,
        newest_first: bool = False,
        limit: int | None = None,
        filters: Mapping[str, Any] | None = None,
        attributes: Sequence[str] = (),
    ) -> Iterator[Item]:
        """The items of a partition in the order of their sort keys.

        ``prefix`` is the name of the sort key and what it begins with, ``at_most`` its name and its last value.
        ``filters`` are equalities, applied after the read; ``limit`` bounds what is read, not only what is handed out.
        Reads by an index are consistent on demand only: a local index can be, a global one cannot.
        """
        request = self._query(pk, index, pk_name, prefix, filters, at_most)
        request["ConsistentRead"] = index is None if consistent is None else consistent
        request["ScanIndexForward"] = not newest_first
        if attributes:
            names = {f"#a{i}": name for i, name in enumerate(attributes)}
            request["ProjectionExpression"] = ", ".join(names)
            request["ExpressionAttributeNames"] = {**request.get("ExpressionAttributeNames", {}), **names}
        left = limit
        while left is None or left > 0:
            if left is not None:
                request["Limit"] = left
            answer = self._call("query", **request)
            yield from map(self.decode, answer["Items"])
            if left is not None:
                left -= answer["ScannedCount"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def count(
        self,
        pk: str,
        *,
        index: str | None = None,
        pk_name: str = "pk",
        prefix: tuple[str, str] | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> int:
        request = self._query(pk, index, pk_name, prefix, filters) | {"Select": "COUNT"}
        total = 0
        while True:
            answer = self._call("query", **request)
            total += int(answer["Count"])
            if "LastEvaluatedKey" not in answer:
                return total
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def write(self, write: Write) -> Item:
        """Does one write and returns what its item is afterwards (nothing for a Put or Delete).

        Raises ``ConditionFailed``.
        """
        request = self.request(write)
        if write.kind == "Update":
            request["ReturnValues"] = "ALL_NEW"
        answer = self._call(f"{write.kind.lower()}_item", **request)
        return self.decode(answer.get("Attributes", {}))

    def write_all(self, items: Iterable[Item]) -> None:
        """Puts items without conditions and in no order: for what is the same whenever it is written."""
        self._write_many([{"PutRequest": {"Item": self._encode(item)}} for item in items])

    def delete_all(self, keys: Iterable[Key]) -> None:
        """Deletes items without conditions and in no order."""
        self._write_many([{"DeleteRequest": {"Key": self._encode(key)}} for key in keys])

    def _write_many(self, requests: Sequence[Any]) -> None:
        for chunk in _chunks(requests, BATCH_WRITE_ITEMS):
            wanted: Any = {self._name: chunk}
            for attempt in range(TRIES):
                wanted = self._call("batch_write_item", RequestItems=wanted).get("UnprocessedItems")
                if not wanted:
                    break
                self._back_off(attempt)
            else:
                raise Downstream("DynamoDB left items of a batch unwritten.")

    def transact(self, writes: Sequence[Write]) -> None:
        """Does all writes or none. Raises ``ConditionFailed`` for the first whose condition did not hold."""
        requests = [{write.kind: self.request(write)} for write in writes]
        for attempt in range(TRIES):
            try:
                self._client.transact_write_items(TransactItems=requests)
                return
            except self._client.exceptions.TransactionCanceledException as error:
                failure = self.cancelled(error.response.get("CancellationReasons", []), str(error))
                if failure is not None:
                    raise failure from error
            except Exception as error:
                self._translate(error)
            self._back_off(attempt)
        raise Downstream(TOO_MANY)

    def text(self, item: Item) -> str:
        """The JSON of an item as DynamoDB takes it: what ``Write.text`` may hold. It has no binaries."""
        return dumps(self._encode(item))

    def _query(
        self,
        pk: str,
        index: str | None,
        pk_name: str,
        prefix: tuple[str, str] | None,
        filters: Mapping[str, Any] | None,
        at_most: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        names = {"#pk": pk_name}
        values = {":pk": pk}
        condition = "#pk = :pk"
        if prefix is not None:
            names["#sk"], values[":sk"] = prefix
            condition += " AND begins_with(#sk, :sk)"
        if at_most is not None:
            names["#sk"], values[":sk"] = at_most
            condition += " AND #sk <= :sk"
        request: dict[str, Any] = {"TableName": self._name, "KeyConditionExpression": condition}
        if index is not None:
            request["IndexName"] = index
        if filters:
            names |= {f"#f{i}": name for i, name in enumerate(filters)}
            values |= {f":f{i}": value for i, value in enumerate(filters.values())}
            request["FilterExpression"] = " AND ".join(f"#f{i} = :f{i}" for i in range(len(filters)))
        request["ExpressionAttributeNames"] = names
        request["ExpressionAttributeValues"] = {name: self._encode_value(value) for name, value in values.items()}
        return request

    def request(self, write: Write) -> dict[str, Any]:
        """What DynamoDB is to be told of a write, in its own encoding; the old item comes back where it is refused."""
        request: dict[str, Any] = {"TableName": self._name, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        if write.kind == "Put":
            request["Item"] = self._encode(write.item or {}) if write.text is None else json.loads(write.text)
        else:
            request["Key"] = self._encode(write.key)
        if write.update is not None:
            request["UpdateExpression"] = write.update
        if write.condition is not None:
            request["ConditionExpression"] = write.condition
        if write.values:
            request["ExpressionAttributeValues"] = {
                f":{name}": self._encode_value(value) for name, value in write.values.items()
            }
        text = f"{write.update or ''} {write.condition or ''}"
        names = {f"#{name}": name for name in _RESERVED if f"#{name}" in text} | dict(write.names)
        if names:
            request["ExpressionAttributeNames"] = names
        return request

    def _encode_value(self, value: Any) -> dict[str, Any]:
        """As boto3 encodes it, which asks each value for all types that there are."""
        match value:
            case str():
                return {"S": value}
            case None:
                return {"NULL": True}
            case bool():
                return {"BOOL": value}
            case int():
                return {"N": str(value)}
            case dict():
                return {"M": {name: self._encode_value(each) for name, each in value.items()}}
            case list() | tuple():
                return {"L": [self._encode_value(each) for each in value]}
        found: dict[str, Any] = self._encode_other(value)
        return found

    def _encode(self, item: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._encode_value(value) for name, value in item.items() if value is not None}

    def decode(self, raw: Mapping[str, Any]) -> Item:
        return {name: _plain(self._decode_value(value)) for name, value in raw.items()}

    def _call(self, operation: str, **request: Any) -> Any:
        try:
            return getattr(self._client, operation)(**request)
        except Exception as error:
            self._translate(error)

    def _translate(self, error: Exception) -> NoReturn:
        from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

        if isinstance(error, ClientError):
            code = error.response["Error"]["Code"]
            raise self.refusal(code, str(error), error.response.get("Item")) from error
        if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
            raise DownstreamTimeout(NO_ANSWER) from error
        if isinstance(error, BotoCoreError):
            raise Downstream(f"DynamoDB: {error}"[:500]) from error
        raise error

    def cancelled(self, reasons: Sequence[Mapping[str, Any]], detail: str) -> ConditionFailed | Refused | None:
        """Why a transaction was not done, by the reasons that DynamoDB gives, one for each write; None where it is to
        be tried again.
        """
        codes = [reason.get("Code") for reason in reasons]
        if "ConditionalCheckFailed" in codes:
            index = codes.index("ConditionalCheckFailed")
            return ConditionFailed(self.decode(reasons[index].get("Item") or {}) or None, index)
        if "TransactionConflict" in codes or "ThrottlingError" in codes:
            return None
        return Refused(f"DynamoDB refused a transaction: {detail}"[:500])

    def refusal(self, code: str, detail: str, old: Mapping[str, Any] | None) -> ConditionFailed | Downstream:
        """What DynamoDB's error of this code is here; ``old`` is the item that came with it, in its encoding."""
        if code == "ConditionalCheckFailedException":
            return ConditionFailed(self.decode(old or {}) or None)
        kind = Refused if code == "ValidationException" else Downstream
        return kind(f"DynamoDB: {detail}"[:500])

    def _back_off(self, attempt: int) -> None:
        self._sleep(back_off_s(attempt))


def back_off_s(attempt: int, first_s: float = BACKOFF_S) -> float:
    """How long to wait behind a try (the first is 0) before the next: somewhere up to ``first_s``, which is doubled
    with each, up to a second.
    """
    return random.uniform(0, min(1.0, first_s * 2**attempt))  # noqa: S311


def _plain(value: Any) -> Any:
    """Numbers as Python's own (all of ours are whole), binaries as bytes, within lists and maps too."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, (str, bool, bytes, set)) or value is None:
        return value
    if hasattr(value, "value"):  # boto3's Binary
        return bytes(value)
    return int(value)


def _chunks(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
