"""EventBridge Scheduler: the schedules of this stage, which lie in a group of their own.

A schedule never changes: its name says all that it is made of (``services.schedules``), and what differs has another.
So to make one that is there, and to delete one that is gone, is to be done already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chalicelib.foundation.errors import Downstream, DownstreamTimeout
from chalicelib.foundation.json_types import Json, dumps

#: Scheduler puts the time for which a schedule was due in the place of this, as 2026-01-05T09:00:00Z.
SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"

_RETRY = {"MaximumRetryAttempts": 20, "MaximumEventAgeInSeconds": 3600}  # to call the target at all
_PAGE = 100
_MAX_PAGES = 10


@dataclass(frozen=True, slots=True)
class Schedule:
    name: str
    expression: str
    timezone: str
    payload: Json  # what the target is called with


class Schedules:
    def __init__(self, client: Any, *, group: str, target: str, role: str, dead_letters: str) -> None:
        """ARNs: ``target`` is what is called, with ``role``; ``dead_letters`` a queue for calls that failed."""
        self._client = client
        self._group = group
        self._target = {"Arn": target, "RoleArn": role, "DeadLetterConfig": {"Arn": dead_letters}}

    def create(self, schedule: Schedule) -> None:
        """Raises ``Downstream``."""
        target = {**self._target, "Input": dumps(schedule.payload), "RetryPolicy": _RETRY}
        try:
            self._client.create_schedule(
                GroupName=self._group,
                Name=schedule.name,
                ScheduleExpression=schedule.expression,
                ScheduleExpressionTimezone=schedule.timezone,
                FlexibleTimeWindow={"Mode": "OFF"},
                Target=target,
            )
        except self._client.exceptions.ConflictException:
            pass
        except Exception as error:
            raise _translated(error) from error

    def delete(self, name: str) -> None:
        """Raises ``Downstream``."""
        try:
            self._client.delete_schedule(GroupName=self._group, Name=name)
        except self._client.exceptions.ResourceNotFoundException:
            pass
        except Exception as error:
            raise _translated(error) from error

    def names(self, prefix: str) -> list[str]:
        """Of the schedules whose names begin so, a thousand at most. Raises ``Downstream``."""
        found: list[str] = []
        request: dict[str, Any] = {"GroupName": self._group, "NamePrefix": prefix, "MaxResults": _PAGE}
        try:
            for _ in range(_MAX_PAGES):
                page = self._client.list_schedules(**request)
                found += [schedule["Name"] for schedule in page["Schedules"]]
                if not page.get("NextToken"):
                    break
                request["NextToken"] = page["NextToken"]
        except Exception as error:
            raise _translated(error) from error
        return found


def _translated(error: Exception) -> Exception:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
        return DownstreamTimeout("EventBridge Scheduler did not answer in time.")
    if isinstance(error, (BotoCoreError, ClientError)):
        return Downstream(f"EventBridge Scheduler: {error}"[:500])
    return error
