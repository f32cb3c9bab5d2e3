"""Programs: plans that only compute, each prepared as one pass over its nodes.

A visit of a node (``engines.step``) is made for whatever may happen to it: it reads records, looks whether the node is
decided, counts attempts, writes. Of a run that only computes, in one process, and that goes well, nothing of this can
turn out in more than one way. A program is what is left then: of each node its input, its handler and its port. What it
brings is, text for text, what visits would record.

It knows no other case. Where a node fails, a value is too large for a record, or time runs short, it brings nothing,
and the run is done by visits from its beginning: nothing but processor time is lost, as nobody was told of it and
nothing was written.

What if the process is killed ... in the middle, the same: it never was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from chalicelib.compiler.passes.fuse import is_fusible
from chalicelib.compiler.plan import Join, Plan, PlanNode
from chalicelib.engines.payloads import INLINE_BYTES, NOTHING_ELSEWHERE, Payloads
from chalicelib.engines.prepared import PreparedConfig
from chalicelib.engines.secrets import Secrets
from chalicelib.engines.values import StepValues, passed_on
from chalicelib.engines.visit import skipped_record
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.foundation.expressions import References, compile_expression
from chalicelib.foundation.json_types import Json, Value, dumps, loads
from chalicelib.foundation.lazy import lazy
from chalicelib.graph.executions import Attempt, Payload, StepRecord, StepStatus
from chalicelib.nodes.registry import Registry
from chalicelib.nodes.spec import NodeConfig, NodeContext, Outcome
from chalicelib.store.forms import Form, slot
from chalicelib.store.whole_runs import EMBEDDED_STEPS, is_embeddable, text_of

#: Seconds of the processor that a run may take, as somebody may wait for the thread. What others have of the processor
#: meanwhile does not count: nobody is served by leaving the run to visits.
LONGEST_S = 0.02
RESTS = 100  # runs that are left to visits after one that took half as long
_SUSPICIOUS = timedelta(seconds=LONGEST_S / 2)  # of the time of day; to ask for that of the processor takes longer
#: Categories of types whose handlers do nothing but compute: done once more, by a visit, nothing has happened twice.
_COMPUTING = frozenset({"control", "data", "triggers"})
_MILLISECOND = timedelta(milliseconds=1)
_UNREAD: Any = object()


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and its JSON text."""

    value: Json
    text: str


@dataclass(frozen=True, slots=True)
class Computed:
    """A run that has succeeded."""

    steps: str  # their records, as ``store.whole_runs`` has them
    output: str | None  # JSON text
    finished_at: str
    ended: datetime  # the same


def is_program(plan: Plan, catalog: Registry) -> bool:
    """Whether there is a program of a plan."""
    return (
        plan.tasks_total <= EMBEDDED_STEPS
        and not plan.given
        and all(_only_computes(node, catalog) for node in plan.nodes.values())
    )


def _only_computes(node: PlanNode, catalog: Registry) -> bool:
    kind = catalog.find(node.type)
    if kind is None or kind.category not in _COMPUTING or not is_fusible(node, catalog):
        return False
    return not PreparedConfig(kind, node.config).names_credentials


class Program:
    """Of a plan of which ``is_program`` says that there is one. Serves any number of runs, in any thread."""

    def __init__(
        self, plan: Plan, catalog: Registry, clock: Clock, processor_s: Callable[[], float] = time.thread_time
    ) -> None:
        """``processor_s`` tells the processor time of the thread."""
        self.plan = plan
        places = {name: place for place, name in enumerate(sorted(plan.nodes, key=plan.order.__getitem__))}
        values = StepValues(Payloads(NOTHING_ELSEWHERE), "", Secrets(NOTHING_ELSEWHERE, ""))
        self._steps = [_Step(plan.nodes[name], places, catalog, values) for name in places]
        self._dead = [_skipped(node) for node in plan.dead]
        self._sinks = [(name, places[name]) for name in plan.sinks]
        self._clock = clock
        self._processor_s = processor_s
        self._rests = 0
        self.run(Given({}, "{}"), {}, clock.now())  # much is made when it is first used: not while somebody waits
        self._rests = 0

    def run(self, trigger: Given, execution: Mapping[str, Json], began_at: datetime) -> Computed | None:
        """Runs it on the payload of a trigger; ``execution`` is what expressions know by that name.

        None where it did not go well, or would hold up the thread: then the run is for visits.
        """
        if self._rests:
            self._rests -= 1
            return None
        began_s = self._processor_s()
        try:
            return self._computed(_Run(trigger, execution, len(self._steps)), began_at, began_s)
        except Exception:  # whatever it is, a visit meets it too, and knows what follows
            return None

    def _computed(self, run: _Run, began_at: datetime, began_s: float) -> Computed | None:
        suspicious = began_at + _SUSPICIOUS
        now, at = began_at, timestamp(began_at)
        records = [form.filled({"at": at}) for form in self._dead]
        for step in self._steps:
            if not step.is_live(run):
                records.append(step.skipped.filled({"at": at}))
                continue
            outcome = _Visit(step, run, now).outcome
            text = run.keep(step.place, outcome)
            ended = self._clock.now()
            if not _is_inline(text) or (ended > suspicious and self._is_late(began_s)):
                return None
            began, at = at, at if _within_one_millisecond(now, ended) else timestamp(ended)
            records.append(step.succeeded(outcome.port).filled({"began": began, "at": at, "value": text}))
            now = ended
        output, steps = self._output(run), f"[{','.join(records)}]"
        if (output and not _is_inline(output)) or not is_embeddable(steps):
            return None
        return Computed(steps, output, at, now)

    def _is_late(self, began_s: float) -> bool:
        took_s = self._processor_s() - began_s
        if took_s > LONGEST_S / 2:
            self._rests = RESTS
        return took_s > LONGEST_S

    def _output(self, run: _Run) -> str | None:
        """The output of the sink that ran, or an object by node id where several did."""
        ran = [(name, run.texts[place]) for name, place in self._sinks if run.ports[place] is not None]
        if len(ran) == 1:
            return ran[0][1]
        return "{" + ",".join(f"{dumps(name)}:{text}" for name, text in ran) + "}" if ran else None


class _Run:
    """What the nodes of a run have brought so far, by their places in the program."""

    def __init__(self, trigger: Given, execution: Mapping[str, Json], nodes: int) -> None:
        self.trigger = trigger.value
        self.execution = execution
        self.ports: list[str | None] = [None] * nodes
        self.texts = [""] * nodes
        self._values = [_UNREAD] * nodes
        self._known = {id(trigger.value): trigger.text}  # of values that live as long as the run: what a node passes on

    def keep(self, place: int, outcome: Outcome) -> str:
        """Keeps what a node puts out; the JSON text of it."""
        text = self._known.get(id(outcome.output))
        if text is None:
            text = dumps(outcome.output)
        else:
            self._values[place] = outcome.output
        self.texts[place] = text
        self.ports[place] = outcome.port
        return text

    def value(self, place: int) -> Json:
        """What a node has put out, as whoever reads it from a record has it."""
        value: Json = self._values[place]
        if value is _UNREAD:
            value = self._values[place] = loads(self.texts[place])
            self._known[id(value)] = self.texts[place]
        return value


@dataclass(frozen=True, slots=True)
class _Source:
    """A connection into a node."""

    place: int  # of the node that it comes from
    port: str
    key: str  # by which the input has it, where there are several

    def is_live(self, run: _Run) -> bool:
        return run.ports[self.place] == self.port


class _Step:
    """A node of a program: what is the same in all runs."""

    def __init__(self, node: PlanNode, places: Mapping[str, int], catalog: Registry, values: StepValues) -> None:
        kind = catalog.find(node.type)
        assert kind is not None
        self.node = node
        self.kind = kind
        self.place = places[node.id]
        self.values = values
        self.sources = [
            _Source(places[edge.source], edge.source_port, _key(node, edge.source, edge.target_port))
            for edge in node.inbound
        ]
        self.reads = [(name, places[name]) for name in node.reads if name in places]
        self.prepared = PreparedConfig(kind, node.config)
        self.constant = self.prepared.constant
        self.skipped = _skipped(node, self.place)
        self._succeeded: dict[str, Form] = {}

    def is_live(self, run: _Run) -> bool:
        """Whether anything leads here."""
        for source in self.sources:
            if source.is_live(run):
                return True
        return not self.sources

    def succeeded(self, port: str) -> Form:
        """The form of its record where it has taken ``port``, with the slots ``began``, ``at`` and ``value``."""
        form = self._succeeded.get(port)
        if form is None:
            form = self._succeeded[port] = _succeeded(self.node, self.place, port)
        return form


class _Visit:
    """What the handler of a node is given: of ``NodeContext`` that of which those who only compute make use."""

    def __init__(self, step: _Step, run: _Run, now: datetime) -> None:
        self._step = step
        self._run = run
        self.now = now
        self.values = step.values
        self.trigger = run.trigger

    @property
    def outcome(self) -> Outcome:
        step = self._step
        if step.node.input_mappings:
            _ = self.data  # a mapping that fails is a failure of the node, whatever its handler asks for
        result = step.kind.handler(cast("NodeContext[Any]", self))
        assert isinstance(result, Outcome)
        return passed_on(result, self.data, step.node, step.values) if step.node.pass_through else result

    @lazy
    def config(self) -> NodeConfig:
        step = self._step
        if step.constant is not None:
            return step.constant
        rendered = cast("Mapping[str, Json]", step.prepared.template.render(self._names))
        return step.kind.parse({**step.node.config, **rendered})

    @lazy
    def data(self) -> Json:
        mappings = self._step.node.input_mappings
        if not mappings:
            return self._connected
        unmapped = _Unmapped(self._step, self._run, self.now)
        return {field: unmapped.resolve(source) for field, source in mappings.items()}

    @lazy
    def inputs(self) -> Sequence[Value]:
        if self._step.node.input_mappings:
            return [self.data]
        return [self._run.value(source.place) for source in self._live]

    def evaluate(self, source: str, more: Mapping[str, Json]) -> Json:
        expression = compile_expression(source)
        return expression.evaluate({**self._names(expression.references), **more})

    def resolve(self, source: str) -> Json:
        return compile_expression(source).evaluate(self._names)

    @lazy
    def _connected(self) -> Json:
        step, run = self._step, self._run
        if not step.sources:
            return run.trigger
        if step.node.join is None:
            return run.value(next(self._live).place)
        return {source.key: run.value(source.place) for source in self._live}

    @property
    def _live(self) -> Iterator[_Source]:
        return (source for source in self._step.sources if source.is_live(self._run))

    def _names(self, used: References) -> dict[str, Json]:
        """Of the names that an expression may use those that it does use."""
        names: dict[str, Json] = {}
        if "vars" in used.names:
            names["vars"] = {}
        if "execution" in used.names:
            names["execution"] = self._run.execution
        if "data" in used.names:
            names["data"] = self.data
        if "trigger" in used.names:
            names["trigger"] = self.trigger
        if "nodes" in used.names:
            names["nodes"] = {
                name: self._run.value(place)
                for name, place in self._step.reads
                if self._run.ports[place] is not None and (used.all_nodes or name in used.nodes)
            }
        return names


class _Unmapped(_Visit):
    """What the mappings of a node's input know as ``data``."""

    @lazy
    def data(self) -> Json:
        return self._connected


def _key(node: PlanNode, source: str, target_port: str) -> str:
    return target_port if node.join is Join.BY_PORT else source


def _succeeded(node: PlanNode, place: int, port: str) -> Form:
    began, at = slot("began"), slot("at")
    output = Payload(text=slot("value"))
    attempts = (Attempt(began, at),)
    record = StepRecord(
        node.id, "", StepStatus.SUCCEEDED, node.type, node.label, port, output, attempts=attempts, started_at=began,
        finished_at=at, order=place,
    )  # fmt: skip
    return _form(record)


def _skipped(node: PlanNode, place: int = 0) -> Form:
    return _form(skipped_record(node, "", slot("at"), order=place))


def _form(record: StepRecord) -> Form:
    """Of a step in the text of all steps."""
    return Form(text_of([record])[1:-1])


def _is_inline(text: str) -> bool:
    """Whether a value may stand in a record."""
    return len(text) <= INLINE_BYTES // 4 or len(text.encode()) <= INLINE_BYTES


def _within_one_millisecond(one: datetime, other: datetime) -> bool:
    """Whether two moments, the later one last, have the same timestamp."""
    return other - one < _MILLISECOND and one.microsecond // 1000 == other.microsecond // 1000
