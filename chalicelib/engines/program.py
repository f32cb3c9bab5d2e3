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
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, cast

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
from chalicelib.store.forms import is_free_of_slots
from chalicelib.store.run_form import Passage, time_slot, value_slot
from chalicelib.store.whole_runs import EMBEDDED_STEPS, text_of

LONGEST_S = 0.02  # that a run may take, as somebody may wait for the thread
RESTS = 100  # runs that are left to visits after one that had the processor for half as long
_LONGEST, _LONG = timedelta(seconds=LONGEST_S), timedelta(seconds=LONGEST_S / 2)
#: Categories of types whose handlers do nothing but compute: done once more, by a visit, nothing has happened twice.
_COMPUTING = frozenset({"control", "data", "triggers"})
_MILLISECOND = timedelta(milliseconds=1)
_UNREAD: Any = object()


class Given(NamedTuple):
    """A value, and its JSON text."""

    value: Json
    text: str


def is_program(plan: Plan, catalog: Registry) -> bool:
    """Whether there is a program of a plan."""
    return (
        plan.tasks_total <= EMBEDDED_STEPS
        and not plan.given
        and is_free_of_slots(dumps(plan.to_json()))
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
        self._sinks = [(name, places[name]) for name in plan.sinks]
        self._clock = clock
        self._processor_s = processor_s
        #: Whether the last run took long. Others may have had the processor: of the next one that is measured. To ask
        #: for it takes as long as some nodes.
        self._is_watched = False
        self._rests = 0
        self._warm_up()

    def run(self, trigger: Given, execution: Mapping[str, Json], began_at: datetime) -> Passage | None:
        """Runs it on the payload of a trigger; ``execution`` is what expressions know by that name, and its
        ``startedAt`` the timestamp of ``began_at``.

        None where it did not go well, or would hold up the thread: then the run is for visits.
        """
        if self._rests:
            self._rests -= 1
            return None
        began_s = self._processor_s() if self._is_watched else None
        run = _Run(trigger, execution, len(self._steps))
        try:
            times = self._times(run, began_at)
        except Exception:  # whatever it is, a visit meets it too, and knows what follows
            return None
        if began_s is not None:
            self._is_watched = False
            if self._processor_s() - began_s > LONGEST_S / 2:
                self._rests = RESTS
        output = self._output(run)
        if times is None or not all(map(_is_inline, (*run.texts, output or ""))):
            return None
        return Passage(tuple(run.ports), run.texts, times, output)

    def _times(self, run: _Run, began_at: datetime) -> list[str] | None:
        """When the run began, and when each of its nodes had ended, one after the other. None where it takes long."""
        now, at, until = began_at, str(run.execution["startedAt"]), _next_millisecond(began_at)
        times = [at]
        for step in self._steps:
            if step.is_live(run.ports):
                run.keep(step.place, step.outcome(run, now))
                now = self._clock.now()
                if now >= until:
                    at, until = timestamp(now), _next_millisecond(now)
                    if now - began_at > _LONG:
                        self._is_watched = True
                        if now - began_at > _LONGEST:
                            return None
            times.append(at)
        return times

    def _warm_up(self) -> None:
        """Much is made when it is first used: not while somebody waits."""
        now = self._clock.now()
        self.run(Given({}, "{}"), {"id": "", "workflowId": "", "startedAt": timestamp(now)}, now)
        self._rests, self._is_watched = 0, False

    def steps(self, ports: Sequence[str | None]) -> str:
        """The text of the records of a run that has taken these ports, as ``store.whole_runs`` has them; with the slots
        of ``store.run_form`` in it.
        """
        dead = [skipped_record(node, "", time_slot(0)) for node in self.plan.dead]
        return text_of([*dead, *(step.record(port) for step, port in zip(self._steps, ports, strict=True))])

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

    def keep(self, place: int, outcome: Outcome) -> None:
        """Keeps what a node puts out, as JSON text."""
        text = self._known.get(id(outcome.output))
        if text is None:
            text = dumps(outcome.output)
        else:
            self._values[place] = outcome.output
        self.texts[place] = text
        self.ports[place] = outcome.port

    def value(self, place: int) -> Json:
        """What a node has put out, as whoever reads it from a record has it."""
        value: Json = self._values[place]
        if value is _UNREAD:
            value = self._values[place] = loads(self.texts[place])
            self._known[id(value)] = self.texts[place]
        return value


class _Source(NamedTuple):
    """A connection into a node."""

    place: int  # of the node that it comes from
    port: str
    key: str  # by which the input has it, where there are several


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

    def is_live(self, ports: Sequence[str | None]) -> bool:
        """Whether anything leads here."""
        for place, port, _ in self.sources:
            if ports[place] == port:
                return True
        return not self.sources

    def outcome(self, run: _Run, now: datetime) -> Outcome:
        """What the handler says. Raises what it raises."""
        visit = _Visit(self, run, now)
        if self.node.input_mappings:
            _ = visit.data  # a mapping that fails is a failure of the node, whatever its handler asks for
        result = self.kind.handler(cast("NodeContext[Any]", visit))
        assert isinstance(result, Outcome)
        return passed_on(result, visit.data, self.node, self.values) if self.node.pass_through else result

    def record(self, port: str | None) -> StepRecord:
        """Its record where it has taken ``port``, with slots in the place of what differs; None: it was skipped."""
        node, place = self.node, self.place
        if port is None:
            return skipped_record(node, "", time_slot(place), order=place)
        began, ended = time_slot(place), time_slot(place + 1)
        return StepRecord(
            node_id=node.id,
            path="",
            status=StepStatus.SUCCEEDED,
            node_type=node.type,
            label=node.label,
            port=port,
            output=Payload(text=value_slot(place)),
            attempts=(Attempt(began, ended),),
            started_at=began,
            finished_at=ended,
            order=place,
        )


class _Visit:
    """What the handler of a node is given: of ``NodeContext`` that of which those who only compute make use."""

    def __init__(self, step: _Step, run: _Run, now: datetime) -> None:
        self._step = step
        self._run = run
        self.now = now
        self.values = step.values
        self.trigger = run.trigger
        self.config = step.constant or self._rendered()

    def _rendered(self) -> NodeConfig:
        step = self._step
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
            return run.value(step.sources[0].place)
        return {source.key: run.value(source.place) for source in self._live}

    @property
    def _live(self) -> list[_Source]:
        ports = self._run.ports
        return [source for source in self._step.sources if ports[source.place] == source.port]

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


def _is_inline(text: str) -> bool:
    """Whether a value may stand in a record."""
    return len(text) <= INLINE_BYTES // 4 or len(text.encode()) <= INLINE_BYTES


def _next_millisecond(moment: datetime) -> datetime:
    """Up to which a moment has the same timestamp."""
    return moment + _MILLISECOND - timedelta(microseconds=moment.microsecond % 1000)
