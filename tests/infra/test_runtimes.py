"""Which interpreters may be deployed, and what a person is told when theirs may not."""

from __future__ import annotations

import json
from datetime import date, timedelta
from importlib.resources import files

import pytest

from infra import runtimes
from infra.runtimes import RUNTIMES, RetiredRuntime


def test_dates_are_those_that_cfn_lint_carries() -> None:
    """Our dates and cfn-lint's come from the same page of AWS; where they differ, AWS has moved one."""
    text = (files("cfnlint") / "data" / "AdditionalSpecs" / "LmbdRuntimeLifecycle.json").read_text()
    theirs = json.loads(text)
    assert {
        name: (runtime.deprecated.isoformat(), runtime.no_create.isoformat(), runtime.no_update.isoformat())
        for name, runtime in RUNTIMES.items()
    } == {
        name: (theirs[name]["deprecated"], theirs[name]["create-block"], theirs[name]["update-block"])
        for name in RUNTIMES
    }


def test_every_supported_python_has_a_runtime() -> None:
    """The Pythons of pyproject.toml are the runtimes that can be deployed."""
    assert sorted(RUNTIMES) == ["python3.11", "python3.12", "python3.13", "python3.14"]


def test_nothing_is_said_while_the_end_is_far() -> None:
    """A runtime years from its end is fine."""
    assert runtimes.check("python3.13", date(2026, 11, 1)) is None


def test_the_end_is_told_half_a_year_ahead() -> None:
    """The warning names the date and the way out."""
    end = RUNTIMES["python3.11"].deprecated
    warning = runtimes.check("python3.11", end - timedelta(days=180))
    assert warning
    assert str(end) in warning
    assert "make PYTHON=python3.14" in warning


def test_a_retired_runtime_is_refused() -> None:
    """From the day on which Lambda takes no new functions, deploy says so and what to do."""
    with pytest.raises(RetiredRuntime, match=r"since 2027-07-31.*PYTHON=python3\.14"):
        runtimes.check("python3.11", RUNTIMES["python3.11"].no_create)


def test_an_unknown_runtime_is_refused() -> None:
    """An interpreter that Lambda does not have is refused too."""
    with pytest.raises(RetiredRuntime, match=r"no runtime python3\.15"):
        runtimes.check("python3.15", date(2026, 11, 1))
