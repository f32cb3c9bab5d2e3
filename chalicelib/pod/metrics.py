"""What a pod counts, in the text format that Prometheus reads.

A few numbers of one process: a client library would bring a registry, locks and collectors of the process for them.
All of it happens in the event loop, so nothing needs a lock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from chalicelib.services.deployed import Observer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics(Observer):
    def __init__(self) -> None:
        self._started = 0
        self._ended: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._buckets = [0] * (len(BUCKETS_S) + 1)
        self._seconds = 0.0

    def began(self) -> None:
        self._started += 1

    def ended(self, status: str, seconds: float) -> None:
        self._ended[status] += 1
        self._buckets[bisect_left(BUCKETS_S, seconds)] += 1
        self._seconds += seconds

    def refused(self, code: str) -> None:
        self._refused[code] += 1

    def text(self, in_flight: int, commits: int, calls: int) -> str:
        """``commits`` is how often runs have asked for a commit, ``calls`` how many were made for that."""
        return "\n".join(self._lines(in_flight, commits, calls)) + "\n"

    def _lines(self, in_flight: int, commits: int, calls: int) -> Iterator[str]:
        yield from _head("millrace_runs_started_total", "counter", "Runs that were recorded.")
        yield f"millrace_runs_started_total {self._started}"
        yield from _head("millrace_runs_ended_total", "counter", "Runs by how they ended; elsewhere: not in this pod.")
        for status, number in sorted(self._ended.items()):
            yield f'millrace_runs_ended_total{{status="{status}"}} {number}'
        yield from _head("millrace_triggers_refused_total", "counter", "Triggers that were answered with an error.")
        for code, number in sorted(self._refused.items()):
            yield f'millrace_triggers_refused_total{{code="{code}"}} {number}'
        yield from _head("millrace_runs_in_flight", "gauge", "Runs that the pod is at, and requests that wait.")
        yield f"millrace_runs_in_flight {in_flight}"
        yield from _head("millrace_run_seconds", "histogram", "From the trigger to the end of a run.")
        total = 0
        for bound, number in zip((*map(str, BUCKETS_S), "+Inf"), self._buckets, strict=True):
            total += number
            yield f'millrace_run_seconds_bucket{{le="{bound}"}} {total}'
        yield f"millrace_run_seconds_sum {self._seconds:.6f}"
        yield f"millrace_run_seconds_count {total}"
        yield from _head("millrace_commits_total", "counter", "Writes of runs that were committed together.")
        yield f"millrace_commits_total {commits}"
        yield from _head("millrace_commit_calls_total", "counter", "Calls to DynamoDB that these took.")
        yield f"millrace_commit_calls_total {calls}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
