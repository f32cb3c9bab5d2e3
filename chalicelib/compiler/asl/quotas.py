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

#: Seconds that an execution lasts at most: one year. Same page as the definition's limit.
MAX_EXECUTION_S = 31_536_000

#: Seconds for which the item of a gate is kept. Nothing waits longer than an execution may last; a month is for who
#: wants to know why.
GATE_KEPT_S = MAX_EXECUTION_S + 30 * 24 * 3600
