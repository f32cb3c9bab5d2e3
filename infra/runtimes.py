"""Which Python runtimes Lambda takes, and until when.

Chalice names the runtime after the interpreter that packages the code, so ``make deploy`` decides it by the Python of
``.venv``. Lambda retires runtimes in three steps: deprecated (no more patches, still deployable), then no new
functions, then no updates. ``check`` refuses what Lambda would refuse, before anything is built or sent, and says
early what is coming.

Dates: "Supported runtimes", https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html, as published in
November 2026. AWS calls them projected and moves them now and then, always later so far; a test compares them with
those that cfn-lint carries.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date, timedelta

_NOTICE = timedelta(days=180)  #: how long ahead AWS itself gives notice of a deprecation


@dataclass(frozen=True)
class Runtime:
    name: str  #: Lambda's identifier
    deprecated: date  #: from here on without patches
    no_create: date  #: from here on no new functions
    no_update: date  #: from here on no changes either


RUNTIMES = {
    runtime.name: runtime
    for runtime in (
        Runtime("python3.11", date(2027, 6, 30), date(2027, 7, 31), date(2027, 8, 31)),
        Runtime("python3.12", date(2028, 10, 31), date(2028, 11, 30), date(2029, 1, 10)),
        Runtime("python3.13", date(2029, 6, 30), date(2029, 7, 31), date(2029, 8, 31)),
        Runtime("python3.14", date(2029, 6, 30), date(2029, 7, 31), date(2029, 8, 31)),
    )
}


class RetiredRuntime(Exception):
    """Lambda takes no functions of this interpreter's runtime; the message says what to do."""


def interpreter_runtime() -> str:
    """The runtime that code packaged by this interpreter gets."""
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def check(name: str, today: date) -> str | None:
    """A warning where the runtime's end is near, else ``None``. ``RetiredRuntime`` where Lambda takes it no more."""
    runtime = RUNTIMES.get(name)
    newest = max(RUNTIMES.values(), key=lambda r: (r.deprecated, int(r.name.rpartition(".")[2])))
    remedy = f"Make .venv anew with {newest.name}: rm -r .venv && make PYTHON={newest.name} deploy STAGE=..."
    if runtime is None:
        raise RetiredRuntime(f"Lambda has no runtime {name} that Millrace is tested on. {remedy}")
    if today >= runtime.no_create:
        raise RetiredRuntime(f"Lambda takes no new functions of {name} since {runtime.no_create}. {remedy}")
    if today >= runtime.deprecated - _NOTICE:
        dates = f"on {runtime.deprecated} and takes no new functions of it from {runtime.no_create}"
        return f"Lambda stops patching {name} {dates}. {remedy}"
    return None
