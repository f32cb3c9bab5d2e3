"""Tells steps what they wait for: makes the reply, opens the gate, wakes what waits there.

In this order, and each harmless to repeat, so whoever dies in between does all of it again; and where nobody does, a
read of the run that waits finds the reply and goes on from there. What is told first counts.
"""

from __future__ import annotations

from typing import Protocol

from chalicelib.engines.waiting import place_of
from chalicelib.foundation.clock import Clock, timestamp
from chalicelib.graph.executions import Execution, StepRecord
from chalicelib.store.gates import GateRepository
from chalicelib.store.replies import ReplyRepository, StoredReply, WaitingAt

_WHO = "reply"


class Alarm(Protocol):
    def wake(self, token: str) -> None:
        """Lets a state go on that waits for ``token``; nothing where none does any more."""


class Telling:
    def __init__(self, replies: ReplyRepository, gates: GateRepository, alarm: Alarm, clock: Clock) -> None:
        self._replies = replies
        self._gates = gates
        self._alarm = alarm
        self._clock = clock

    def tell(self, place: WaitingAt, reply: StoredReply) -> None:
        """Tells a step something. Where it was told something before, that stays, and it is woken again."""
        self._replies.make(place, reply, timestamp(self._clock.now()))
        self.open(place)

    def open(self, place: WaitingAt) -> None:
        """Wakes a step whose reply is made."""
        token = self._gates.arrive(place.organization_id, place.execution_id, place.gate, place.path, _WHO, 1)
        if token is not None:
            self._alarm.wake(token)

    def open_again(self, execution: Execution, step: StepRecord) -> bool:
        """Wakes a step that still waits, if it was told something; False if it was not."""
        place = place_of(execution, step)
        told = self._replies.get(place) is not None
        if told:
            self.open(place)
        return told
