"""Structured logs: one line of JSON per entry, with the ids by which a run or a request is found again."""

from __future__ import annotations

from functools import cache

from aws_lambda_powertools import Logger


@cache
def logger() -> Logger:
    return Logger(service="millrace", use_rfc3339=True, utc=True)
