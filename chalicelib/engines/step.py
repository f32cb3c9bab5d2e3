"""Runs one node of a run. Every engine calls this, for every node; it is where a run is made trustworthy.

One read brings all that the node needs. A node that is decided already answers from its record, which makes every
redelivery, retry and resume safe. One write notes the attempt, unless the node is a short one, and one the outcome,
under conditions that let a record become final only once. What is answered is the next state's input and nothing more:
the path, and the port that was taken.

What if the process is killed ...

==============================  =====================================================================================
before the attempt is noted     nothing has happened; the engine tries again
in the handler                  the attempt stays without an end; the engine tries again and the handler runs again
... and the run is paused       as above; the next round waits until the attempt can be under way no more
after the outcome is written    the engine tries again and is answered from the record; late joins are told then
==============================  =====================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

from chalicelib.compiler.asl.quotas import MAX_EXECUTION_S, NODE_FUNCTION_LIMIT_S
from chalicelib.engines.agents import AgentSession, Journal
from chalicelib.engines.failures import uncaught
from chalicelib.engines.inputs import Inputs, iteration
from chalicelib.engines.joins import Joins, NoJoins
from chalicelib.engines.limits import TIMED_OUT, too_late
from chalicelib.engines.lists import Lists
from chalicelib.engines.payloads import NOTHING_ELSEWHERE, KeptPayloads, Payloads
from chalicelib.engines.prepared import PreparedNode, preparation
from chalicelib.engines.records import StepRecords, begun_again
from chalicelib.engines.secrets import CredentialValues, Secrets
from chalicelib.engines.trial import Trial
from chalicelib.engines.values import StepValues, passed_on
from chalicelib.engines.visit import NotReady, StepAnswer, StepRequest, Visit, pinned_record, skipped_record
from chalicelib.engines.waiting import Waiting, gate_of
from chalicelib.foundation.clock import Clock, parse_timestamp, timestamp
from chalicelib.foundation.errors import Busy, Downstream, NodeError, Permanent, Retryable
from chalicelib.foundation.json_types import Value
from chalicelib.graph.executions import (
    Attempt,
    Execution,
    ExecutionStatus,
    Payload,
    StepError,
    StepRecord,
    StepStatus,
    ended,
)
from chalicelib.graph.model import DEFAULT_SOURCE_PORT, ERROR_PORT, OnError
from chalicelib.nodes.capabilities import Capabilities
from chalicelib.nodes.control import loop
from chalicelib.nodes.registry import Registry
from chalicelib.nodes.spec import Await, Iterate, NodeContext, NodeType, Outcome, Reply, Result, Wait
from chalicelib.store.blobs import Blobs
from chalicelib.store.plans import PlanRepository
from chalicelib.store.table import BATCH_GET_KEYS, ConditionFailed, Write
from chalicelib.store.turns import TurnRepository

_MESSAGE_CHARS = 4000  # of an error, kept in a record


class StepRunner:
    def __init__(
        self,
        *,
        executions: StepRecords,
        plans: PlanRepository,
        payloads: Payloads,
        joins: Joins,
        catalog: Registry,
        capabilities: Capabilities,
        credentials: CredentialValues,
        turns: TurnRepository,
        waiting: Waiting,
        clock: Clock,
    ) -> None:
        self._executions = executions
        self._prepared = preparation(plans, catalog)
        self._payloads = payloads
        self._lists = Lists(payloads)
        self._joins = joins
        self._catalog = catalog
        self._capabilities = capabilities
        self._credentials = credentials
        self._turns = turns
        self._waiting = waiting
        self._clock = clock
        self._metered = True

    def recording_to(self, records: StepRecords) -> StepRunner:
        """The same runner for an engine in this process: with records of its own, and nobody who waits at gates."""
        runner = self.through(records)
        runner._joins = NoJoins()
        runner._metered = False
        runner._keep_values(self._payloads.blobs)
        return runner

    def at_hand(self) -> StepRunner:
        """The same runner for a thread that must not block: whatever it would have to fetch or to store elsewhere
        raises ``Downstream``, before anything is recorded of the node.
        """
        runner = copy(self)
        runner._keep_values(NOTHING_ELSEWHERE)
        runner._credentials = NOTHING_ELSEWHERE
        return runner

    def _keep_values(self, blobs: Blobs) -> None:
        self._payloads = KeptPayloads(blobs)
        self._lists = Lists(self._payloads)

    def through(self, records: StepRecords) -> StepRunner:
        """The same runner, that reads and writes records in another way."""
        runner = copy(self)
        runner._executions = records
        return runner

    def run(self, request: StepRequest) -> StepAnswer:
        """Raises ``Retryable`` for what the engine is to try again, ``Permanent`` for what ends the run, and
        ``NotReady`` for a node that has to wait for others: then nothing of it is recorded.
        """
        began = self._clock.now()
        prepared = self._prepared(request.plan, request.node)
        node = prepared.node
        snapshot = self._executions.load_steps(
            request.organization_id, request.execution_id, prepared.needs(request.path)
        )
        execution = snapshot.execution
        if execution is None or execution.status.is_final:
            raise Permanent("RunEnded", f"execution {request.execution_id} is over or unknown")
        if request.round != execution.round:
            raise Permanent("RunSuperseded", f"execution {request.execution_id} was taken up again meanwhile")
        kind = _known(prepared)
        if request.waited_s:
            began -= timedelta(seconds=_waited_s(request, snapshot.steps.get((node.id, request.path))))
        visit = Visit(execution, prepared, kind, request.path, snapshot, request.phase, began, request.late)
        if execution.status is ExecutionStatus.PAUSED and not _ends_an_attempt(request, visit.own):
            raise Permanent("RunPaused", f"execution {request.execution_id} is held")
        if execution.deadline is not None and execution.deadline <= self._now():
            raise Permanent("RunTimedOut", f"the time of execution {request.execution_id} is over")
        if visit.own is not None and visit.own.status.is_final:
            return self._answer_again(visit, visit.own)
        if visit.limit_around is not None and visit.limit_around <= self._now():
            raise Permanent(TIMED_OUT, f"the time of a loop around node {node.key} is over")
        match request.phase:
            case "leave":
                return self._leave(visit)
            case "settle":
                return self._fail(visit, visit.own, self._cause(visit, request.error))
            case _:
                return self._enter(visit)

    def was_told(self, execution: Execution, answer: StepAnswer) -> bool:
        """Whether the node that gave ``answer`` was told what it waits for; for engines that have no gates."""
        return self._waiting.was_told(execution, answer.gate, answer.path)

    def attempt(self, trial: Trial) -> dict[str, Any]:
        """Runs a node that is in no run, once: ``{status, port?, output?, until?, error?}``. Nothing is recorded."""
        node = trial.plan.by_key[trial.node]
        prepared = PreparedNode(trial.plan, node, self._catalog.find(node.type))
        visit = Visit(trial.execution, prepared, _known(prepared), "", trial.snapshot(node), "enter", self._clock.now())
        try:
            result, data = self._handle(visit, visit.record(StepStatus.RUNNING, self._now()))
            output = self._kept(visit, result, data).to_json()
        except Downstream:
            raise
        except NodeError as error:
            return {"status": "failed", "error": _shortened(error.name, error.message).to_json()}
        except Exception as error:
            return {"status": "failed", "error": _shortened(type(error).__name__, str(error)).to_json()}
        match result:
            case Outcome(_, port):
                return {"status": "succeeded", "port": port, "output": output}
            case Iterate():
                return {"status": "succeeded", "port": visit.kind.body_port, "output": output}
            case Wait(until, _):
                return {"status": "waiting", "until": timestamp(until), "output": output}
            case Await():
                return {"status": "waiting", "output": output}

    def _enter(self, visit: Visit) -> StepAnswer:
        if visit.own is not None and visit.own.status is StepStatus.WAITING:
            return self._answer(visit, visit.own)  # since an earlier delivery
        if visit.own is not None and visit.own.count is not None:
            return self._answer(visit, visit.own)  # its items are known since an earlier delivery
        if not visit.is_ready:
            raise NotReady(visit.node.key)
        if (lost := visit.lost) is not None:
            return self._skip(visit, lost)
        if not visit.is_live:
            return self._skip(visit)
        if (given := visit.execution.pinned.get(visit.node.id)) is not None:
            return self._write(
                visit, pinned_record(visit.record(StepStatus.SUCCEEDED, self._now()), given, visit.kind.continue_port)
            )
        self._check_no_other(visit)
        try:
            begun = self._begin(visit)
        except ConditionFailed:
            # Another delivery began or decided the node between our read and now, or somebody has set it aside.
            return self.run(visit.request)
        try:
            result, data = self._handle(visit, begun)
            kept = self._kept(visit, result, data)
        except Downstream:
            raise  # our own machinery, not the node: the engine tries again whatever the node's settings say
        except NodeError as error:
            return self._failed_attempt(
                visit, begun, StepError(error.name, error.message), isinstance(error, Permanent)
            )
        except Exception as error:
            return self._failed_attempt(visit, begun, StepError(type(error).__name__, str(error)), final=False)
        return self._decided(visit, begun, result, kept)

    def _begin(self, visit: Visit) -> StepRecord:
        """The record with another attempt, which is noted, unless it is over before anybody could read that.

        What is short only computes: if it is cut off it runs again, and nothing else tells of that.
        """
        now = self._now()
        if not visit.kind.fusible or visit.node.settles:
            return self._executions.begin_step(visit.execution, visit.record(StepStatus.RUNNING, now))
        if visit.own is None:
            return visit.record(StepStatus.RUNNING, now, (Attempt(now, round=visit.execution.round),))
        return begun_again(visit.execution, visit.own, visit.record(StepStatus.RUNNING, now))

    def _handle(self, visit: Visit, begun: StepRecord) -> tuple[Result, Value]:
        """Builds the input, resolves the config and calls the handler of the node's type; its result, and the input."""
        node, kind = visit.node, visit.kind
        secrets = Secrets(self._credentials, visit.execution.organization_id)
        values = StepValues(self._payloads, visit.execution.shelf, secrets)
        inputs = Inputs(visit.plan, node, visit.path, visit.execution, visit.snapshot, self._payloads, values)
        prepared = visit.prepared.config
        may_read_secrets = prepared.names_credentials or bool(kind.attachment_ports)
        with secrets.kept_out_of_errors() if may_read_secrets else nullcontext():
            literal = secrets.resolve if prepared.names_credentials else None
            context = NodeContext(
                config=prepared.constant or kind.parse(prepared.rendered(inputs, literal)),
                data=inputs.data,
                trigger=inputs.trigger,
                inputs=inputs.live_values,
                values=values,
                evaluate=inputs.evaluate,
                resolve=inputs.resolve,
                capabilities=secrets.guard(self._capabilities) if may_read_secrets else self._capabilities,
                now=self._clock.now(),
                idempotency_key=visit.idempotency_key,
                caller=visit.caller,
            )
            if kind.attachment_ports:
                journal = Journal(self._turns, self._payloads, visit.execution, begun)
                session = AgentSession(context, node.attachments, inputs, secrets, self._catalog, journal, self._clock)
                context = replace(context, agent=session)
            result = kind.handler(context)
        if isinstance(result, Outcome) and secrets.any_read:
            result = replace(result, output=secrets.redact_value(result.output))
        if isinstance(result, (Outcome, Wait)):
            result = passed_on(result, inputs.data, node, values)
        return result, inputs.data

    def _check_no_other(self, visit: Visit) -> None:
        """Raises ``Busy`` while an attempt of an earlier round may still be under way.

        Within a round the engine calls again only when the call before has ended, one way or the other.
        """
        own = visit.own
        if own is None or not own.is_cut_off or own.attempts[-1].round == visit.execution.round:
            return
        ends_by = parse_timestamp(own.attempts[-1].started_at) + timedelta(seconds=NODE_FUNCTION_LIMIT_S)
        if self._clock.now() < ends_by:
            raise Busy("Busy", f"node {visit.node.key} is still at work since before the run was taken up again")

    def _kept(self, visit: Visit, result: Result, data: Value) -> Payload:
        """What a result brings, or the input of what waits, put where it stays. Raises ``Permanent``: too large."""
        shelf = visit.execution.shelf
        match result:
            case Outcome(output, _) | Wait(_, output):
                return self._payloads.put(shelf, output)
            case Iterate(items):
                put = self._lists.put_items if visit.node.body_sinks else self._payloads.put
                return put(shelf, items)
            case Await():
                return self._payloads.put(shelf, data)

    def _decided(self, visit: Visit, begun: StepRecord, result: Result, kept: Payload) -> StepAnswer:
        """Notes what a handler has said, and where what it brings is ``kept``."""
        match result:
            case Outcome(_, port):
                return self._succeed(visit, begun, kept, port)
            case Wait(until, _):
                record = replace(begun, status=StepStatus.WAITING, until=timestamp(until), output=kept)
                return self._write(visit, record)
            case Iterate(items):
                if not visit.node.body_sinks:
                    return self._succeed(visit, begun, kept, visit.kind.continue_port)
                return self._write(visit, replace(begun, items=kept, count=len(items)))
            case Await():
                record, writes = self._waiting.begin(visit.execution, visit.node, begun, result, kept)
                try:
                    return self._write(visit, record, writes)
                except ConditionFailed:
                    # Who is asked is asked already: by another delivery, or one that died with its records in memory.
                    return self._write(visit, record)

    def _leave(self, visit: Visit) -> StepAnswer:
        """Ends a wait whose time has come or that was told what it waited for, or a loop whose items are done."""
        own = visit.own
        if own is None:
            raise Retryable("NotEntered", f"node {visit.node.key} has no record to end")
        if own.gate is not None:
            return self._resume(visit, own)
        if visit.limit is not None and visit.limit < (own.until or self._now()):
            return self._fail(visit, own, too_late(visit.node))
        if own.until is not None:
            return self._succeed(visit, own, own.output, DEFAULT_SOURCE_PORT)
        try:
            results = self._lists.put_results(visit.execution.shelf, self._results(visit, own.count or 0))
        except Permanent as error:
            return self._fail(visit, own, StepError(error.name, error.message))
        return self._succeed(visit, own, results, visit.kind.continue_port)

    def _resume(self, visit: Visit, own: StepRecord) -> StepAnswer:
        """Ends what has waited to be told something, by what it was told."""
        reply = self._waiting.hear(visit.execution, own)
        if reply.error is not None:
            return self._fail(visit, own, reply.error)
        if reply.output is None and visit.limit is not None and visit.limit < (own.until or self._now()):
            return self._fail(visit, own, too_late(visit.node))
        organization = visit.execution.organization_id
        values = StepValues(self._payloads, visit.execution.shelf, Secrets(self._credentials, organization))
        data = self._payloads.value(own.output)
        assert visit.kind.resume is not None
        try:
            told = Reply(self._payloads.value(reply.output)) if reply.output else None
            outcome = visit.kind.resume(data, told, values)
            kept = self._payloads.put(visit.execution.shelf, passed_on(outcome, data, visit.node, values).output)
        except Permanent as error:
            return self._fail(visit, own, StepError(error.name, error.message))
        return self._succeed(visit, own, kept, outcome.port)

    def _results(self, visit: Visit, count: int) -> Iterator[Iterable[bytes]]:
        """The JSON texts of the results of a loop's items, in their order; a bounded number is read at a time."""
        sinks = visit.node.body_sinks
        at_once = max(1, (BATCH_GET_KEYS - 1) // len(sinks))  # beside them the execution is read
        for first in range(0, count, at_once):
            paths = [iteration(visit.path, index) for index in range(first, min(count, first + at_once))]
            wanted = [(sink, path) for path in paths for sink in sinks]
            steps = self._executions.load_steps(visit.execution.organization_id, visit.execution.id, wanted).steps
            for path in paths:
                yield self._result([(sink, steps.get((sink, path))) for sink in sinks])

    def _result(self, ends: Sequence[tuple[str, StepRecord | None]]) -> Iterable[bytes]:
        """The result of an item: the output of the body's sink, or an object of its sinks by node id; or its error."""
        for _, step in ends:
            if step is not None and (error := step.lost):
                return self._payloads.pieces({"error": error.to_json()})
        outputs = {sink: self._payloads.value(step.output) for sink, step in ends if step and step.port is not None}
        return self._payloads.pieces(outputs if len(ends) > 1 else next(iter(outputs.values()), None))

    def _cause(self, visit: Visit, error: str) -> StepError:
        """Why a node has to be settled: it was cut off, or an item of it, where it is a loop, has failed for good."""
        if visit.own is not None and visit.own.count is not None and not loop.goes_on(visit.node.config):
            failed = self._executions.failed_below(visit.execution.organization_id, visit.execution.id, visit.path)
            for step in uncaught(visit.plan, failed, visit.node.id):
                assert step.error is not None
                return step.error
        if visit.limit is not None and visit.limit <= self._now():
            return too_late(visit.node)
        return StepError(error, "The node was cut off before it could end.")

    def _succeed(self, visit: Visit, begun: StepRecord, output: Payload | None, port: str) -> StepAnswer:
        return self._write(visit, begun.succeeded(port, output, self._now()))

    def _failed_attempt(self, visit: Visit, begun: StepRecord, error: StepError, final: bool) -> StepAnswer:
        """Notes why an attempt failed, and raises for the engine to try again, unless it was the last."""
        error = _shortened(error.name, error.message)
        counted = [attempt for attempt in begun.attempts if attempt.round >= begun.since]
        failures = 1 + sum(attempt.error is not None for attempt in counted)
        if final or failures >= visit.node.retry.max_attempts:
            return self._fail(visit, begun, error)
        record = replace(begun, error=error, attempts=ended(begun.attempts, self._now(), error))
        record = self._timed(visit, record)
        written = self._executions.write_step(visit.execution, record)
        if written is not record:
            return self._overtaken(visit, record, written)
        raise Retryable(error.name, f"attempt {len(begun.attempts)} at node {visit.node.key} failed")

    def _fail(self, visit: Visit, begun: StepRecord | None, error: StepError) -> StepAnswer:
        """Records that a node has failed for good. The run goes on if the node's settings say so, else this raises."""
        now = self._now()
        begun = begun or visit.record(StepStatus.RUNNING, now)
        continuing = visit.kind.continue_port
        port = {OnError.FAIL: None, OnError.CONTINUE: continuing, OnError.PORT: ERROR_PORT}[visit.node.on_error]
        output = None if port is None else self._payloads.put(visit.execution.shelf, {"error": error.to_json()})
        record = replace(
            begun,
            status=StepStatus.FAILED,
            port=port,
            output=output,
            error=error,
            attempts=ended(begun.attempts, now, error),
            finished_at=now,
        )
        return self._write(visit, record)

    def _skip(self, visit: Visit, lost: StepError | None = None) -> StepAnswer:
        record = visit.record(StepStatus.SKIPPED, self._now())
        return self._write(visit, replace(record, started_at=None, error=lost))

    def _write(self, visit: Visit, record: StepRecord, also: Sequence[Write] = ()) -> StepAnswer:
        """Writes what has become of an attempt. With a record that is final goes what it decides to skip, and the joins
        that wait for any of it are told.
        """
        record = self._timed(visit, record)
        written = self._executions.write_step(visit.execution, record, self._skipped(visit, record), also)
        if written is not record:
            return self._overtaken(visit, record, written)
        self._tell(visit, record)
        return self._answer(visit, record)

    def _timed(self, visit: Visit, record: StepRecord) -> StepRecord:
        """The record with how long this visit has taken so far, in its attempt; a process is not paid for by time."""
        if not self._metered or not record.attempts:
            return record
        last = record.attempts[-1]
        ms = last.ms + math.ceil((self._clock.now() - visit.began) / timedelta(milliseconds=1))
        return replace(record, attempts=(*record.attempts[:-1], replace(last, ms=ms)))

    def _overtaken(self, visit: Visit, record: StepRecord, written: StepRecord) -> StepAnswer:
        """Answers where the node was decided otherwise meanwhile.

        Where nobody decided it, but the run has ended or was taken up again, what we bring is not used; that we are
        done is noted, so that nobody waits for us.
        """
        if written.status in (StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED):
            return self._answer_again(visit, written)
        if record.attempts:
            self._executions.end_attempt(visit.execution, record, self._now())
        raise Permanent("Overtaken", f"node {visit.node.key} ended too late: what it brings is not used")

    def _answer_again(self, visit: Visit, record: StepRecord) -> StepAnswer:
        """Answers from a record that is final.

        What it skips is written again, and joins are told again: a delivery before this one may have died before that.
        """
        self._executions.skip(visit.execution, self._skipped(visit, record))
        self._tell(visit, record)
        return self._answer(visit, record)

    def _tell(self, visit: Visit, record: StepRecord) -> None:
        """Tells the late joins of a node, and of those that it has skipped: nobody visits them."""
        if record.status.is_final and not visit.is_end_of_run(record):
            nodes = visit.plan.nodes
            decided = [visit.node, *(nodes[name] for name in visit.closed_by(record))]
            self._joins.tell(visit.execution, decided, visit.path)

    def _answer(self, visit: Visit, record: StepRecord) -> StepAnswer:
        if visit.is_end_of_run(record):
            assert record.error is not None
            # The record says what happened; the history of the state machine only where.
            raise Permanent(record.error.name, f"node {visit.node.key} failed")
        decided = record.status.is_final
        until = record.finished_at if decided else visit.until(record)
        gate = gate_of(visit.node, record) if visit.node.awaits else ""
        if gate and decided and visit.phase == "enter":
            self._waiting.open(visit.execution, gate, visit.path)
        return StepAnswer(
            path=visit.path,
            port=record.port or "",
            count=0 if decided else record.count or 0,
            until=until or self._now(),
            gate=gate,
            seconds=self._seconds_until(until) if gate else 0,
            decided=decided,
        )

    def _seconds_until(self, moment: str | None) -> int:
        """From now, as whole seconds of which a time limit has one at least."""
        if moment is None:
            return MAX_EXECUTION_S
        return max(1, math.ceil((parse_timestamp(moment) - self._clock.now()).total_seconds()))

    def _skipped(self, visit: Visit, record: StepRecord) -> list[StepRecord]:
        """Records for the nodes behind the ports that were not taken, as far as the plan closes them off.

        None of a node that is not decided, or with which the run ends.
        """
        if not visit.node.guarded or not record.status.is_final or visit.is_end_of_run(record):
            return []
        now = record.finished_at or self._now()
        lost = record.lost if visit.node.contained else None
        nodes, order = visit.plan.nodes, visit.plan.order
        return [skipped_record(nodes[name], visit.path, now, lost, order[name]) for name in visit.closed_by(record)]

    def _now(self) -> str:
        return timestamp(self._clock.now())


def _known(prepared: PreparedNode) -> NodeType:
    if prepared.kind is None:
        raise Permanent("UnknownNodeType", f"there is no node type {prepared.node.type!r} any more")
    return prepared.kind


def _shortened(name: str, message: str) -> StepError:
    return StepError(name[:200], message[:_MESSAGE_CHARS])


def _ends_an_attempt(request: StepRequest, own: StepRecord | None) -> bool:
    """Whether this is the end of an attempt that was cut off by the time limit of its node."""
    return request.phase == "settle" and request.error == TIMED_OUT and own is not None and own.is_cut_off


def _waited_s(request: StepRequest, own: StepRecord | None) -> float:
    """What a visit has waited before it began, as far as no earlier delivery has counted that already."""
    is_counted = request.late and own is not None and own.late == request.round
    return 0 if is_counted else request.waited_s
