"""Limits of Step Functions, each with its source. What the compiler emits stays within them."""

from __future__ import annotations

#: Bytes of a state machine definition. https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
MAX_DEFINITION_BYTES = 1024 * 1024

#: Characters of the name of a state. https://states-language.net/spec.html (state names)
MAX_STATE_NAME = 80

#: Iterations of an inline Map that run at once. https://docs.aws.amazon.com/step-functions/latest/dg/state-map-inline.html
INLINE_MAP_CONCURRENCY = 40

#: Seconds between two tries: less than 31,622,400.
#: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
MAX_RETRY_DELAY_S = 31_622_399

#: Of a number of seconds in a definition. https://states-language.net/spec.html (timeouts), the developer guide on Task
MAX_TIMEOUT_S = 99_999_999

#: Seconds after which Lambda ends the node runner, its longest: https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html
NODE_FUNCTION_LIMIT_S = 900

#: Seconds that an execution lasts at most: one year. Same page as the definition's limit.
MAX_EXECUTION_S = 31_536_000

#: Seconds for which the item of a gate is kept. Nothing waits longer than an execution may last; a month is for who
#: wants to know why.
GATE_KEPT_S = MAX_EXECUTION_S + 30 * 24 * 3600

# --- The history of an execution --------------------------------------------------------------------------------------
#
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html (25,000 events; then it fails), and
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_HistoryEvent.html (which events there are).

MAX_EVENTS = 25_000

#: Events that are planned for, with a hundred for an execution itself 12,000. The other half is head-room: for what is
#: tried again (three events each time), and for whatever else nobody can know before.
PLANNED_EVENTS = 11_900

#: Bytes of definition that are planned for: what names come to is only estimated before they stand.
PLANNED_BYTES = 900_000

#: Levels of Parallel and Map in one definition. No limit is documented; each is four levels of JSON, and parsers stop
#: at a thousand.
PLANNED_NESTING = 60

EXECUTION_EVENTS = 2  # ExecutionStarted, ExecutionSucceeded
ITERATION_EVENTS = 2  # MapIterationStarted, MapIterationSucceeded

#: Events of a state that is passed through once. A Task has StateEntered, StateExited, and in between Scheduled,
#: Started and Succeeded; one that waits for a callback or an execution has Submitted too. Parallel and Map: Entered,
#: Started, Succeeded, Exited.
STATE_EVENTS = {"Task": 5, "Parallel": 4, "Map": 4, "Choice": 2, "Wait": 2, "Pass": 2, "Succeed": 2, "Fail": 2}
SUBMITTED_TASK_EVENTS = 6
SUBMITTED_TASKS = (".waitForTaskToken", ".sync", ".sync:2")

#: Iterations of one Map: their inputs and results are state data, of which there may be 256 KB.
PLANNED_ITERATIONS = 1_000
