"""Repairs of the emulator that bring back what AWS does.

The product is written for AWS and never bends to the emulator; where the emulator differs and it matters, the
emulator is mended here, for the one release that is pinned. Each repair wraps one function of MiniStack and names the
behaviour that it restores. ``tests/infra/test_patches.py`` shows each behaviour on a mended emulator, and that it is
absent from an unmended one: so an upgrade which no longer needs a repair is noticed.

What AWS does is taken from its documentation: the Step Functions developer guide ("Transforming data with JSONata",
"Error handling", "Parallel", "Map"), the Lambda developer guide ("Python errors"), the API Gateway developer guide
("OpenAPI extensions") and the EventBridge Scheduler user guide ("Schedule types", "Adding context attributes").
"""

from __future__ import annotations

import contextlib
import contextvars
import copy
import functools
import json
import queue
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any
from zoneinfo import ZoneInfo

from ministack.core import lambda_runtime
from ministack.services import apigateway_v1, eventbridge, lambda_svc, scheduler, stepfunctions
from ministack.services.cloudformation import provisioners

RELEASE = "1.5.33"  #: of MiniStack; the repairs reach into its insides and are good for no other


@dataclass(frozen=True)
class Patch:
    name: str
    restores: str  #: what AWS does
    apply: Callable[[], None]


PATCHES: list[Patch] = []


def apply() -> None:
    """Apply all, in the order in which they stand here. Raises ``RuntimeError`` for another release of MiniStack."""
    if version("ministack") != RELEASE:
        found = version("ministack")
        raise RuntimeError(f"these repairs are for MiniStack {RELEASE}, not {found}: look at each of them again")
    for patch in PATCHES:
        patch.apply()


def _wraps(module: Any, name: str, restores: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function that takes the place of ``module.name``; its first argument is what it replaces."""

    def register(replacement: Callable[..., Any]) -> Callable[..., Any]:
        def put_in_place() -> None:
            original = getattr(module, name)
            # A plain function, as some of them are methods.
            setattr(module, name, functools.wraps(original)(lambda *args, **kw: replacement(original, *args, **kw)))

        PATCHES.append(Patch(replacement.__name__, restores, put_in_place))
        return replacement

    return register


# --- Step Functions: data in JSONata ----------------------------------------------------------------------------------


def _is_jsonata(state: Any, ctx: Any) -> bool:
    return bool(stepfunctions._state_query_language(state, ctx) == "JSONata")


@_wraps(stepfunctions, "_run_parallel_branches", "a Parallel evaluates its Arguments, Output and Assign")
def parallel_takes_arguments_and_output(original: Any, state: Any, given: Any, execution: Any, ctx: Any) -> Any:
    if not _is_jsonata(state, ctx):
        return original(state, given, execution, ctx)
    arguments = stepfunctions._apply_jsonata_arguments(state, given, ctx)
    results, following = original(state, arguments, execution, ctx)
    output = stepfunctions._apply_jsonata_output(state, given, ctx, result=results, default=results)
    stepfunctions._apply_state_assign(state, given, ctx, result=results)
    return output, following


@_wraps(stepfunctions, "_execute_choice", "a Choice that falls through to Default evaluates the state's Output")
def choice_default_has_output(original: Any, state: Any, given: Any, ctx: Any = None) -> Any:
    if not _is_jsonata(state, ctx) or "Default" not in state:
        return original(state, given, ctx)
    default = object()
    bare = {key: value for key, value in state.items() if key != "Assign"}
    output, following = original(bare | {"Default": default}, given, ctx)
    if following is not default:
        return output, following
    # Output sees the variables as they were before Assign.
    output = stepfunctions._apply_jsonata_output(state, given, ctx, default=given)
    stepfunctions._apply_state_assign(state, given, ctx)
    return output, state["Default"]


@_wraps(stepfunctions, "_apply_output_path", "a Succeed evaluates its Output")
def succeed_has_output(original: Any, state: Any, data: Any, ctx: Any = None) -> Any:
    if state.get("Type") == "Succeed" and _is_jsonata(state, ctx):
        return stepfunctions._apply_jsonata_output(state, data, ctx, default=data)
    return original(state, data, ctx)


@_wraps(stepfunctions, "_run_sub_machine", "each branch has its own context: task token, state and variables")
def branch_has_own_context(original: Any, states: Any, start_at: Any, given: Any, execution: Any, ctx: Any) -> Any:
    own = {**ctx, "State": dict(ctx.get("State", {})), "variables": copy.deepcopy(ctx.get("variables", {}))}
    return original(states, start_at, given, execution, own)


@_wraps(stepfunctions, "_find_matching_retrier", "no wait between attempts is longer than MaxDelaySeconds")
def retry_delay_is_capped(original: Any, retriers: Any, error: Any, counts: Any) -> Any:
    retrier, index = original(retriers, error, counts)
    if retrier is None or "MaxDelaySeconds" not in retrier:
        return retrier, index
    delay = retrier.get("IntervalSeconds", 1) * retrier.get("BackoffRate", 2.0) ** counts.get(index, 0)
    return retrier | {"IntervalSeconds": min(delay, retrier["MaxDelaySeconds"]), "BackoffRate": 1}, index


# --- Step Functions: ending what runs ---------------------------------------------------------------------------------
#
# An execution, a Parallel, a Map and each of their attempts is a scope. Ending one ends all within it: whatever waits
# in it (for a time, a function, a callback) stops waiting at once, and no state of it is entered any more.


class _Ended(BaseException):
    """The scope of this state has ended. No ``Exception``: a state must not handle it."""


class _Scope:
    def __init__(self, *, fails_fast: bool) -> None:
        self.fails_fast = fails_fast  #: whether the failure of a branch ends the others
        self.ended = False
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], object]] = []

    def end(self) -> None:
        with self._lock:
            self.ended = True
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    @contextmanager
    def listening(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call ``listener`` when the scope ends, or at once where it has."""
        with self._lock:
            self._listeners.append(listener)
            ended = self.ended
        try:
            if ended:
                listener()
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def require(self) -> None:
        if self.ended:
            raise _Ended

    def wait(self, event: threading.Event, timeout: float | None = None) -> None:
        """Until the event or the time-out (seconds). Raises ``_Ended`` where the scope ends meanwhile."""
        with self.listening(event.set):
            event.wait(timeout)
        self.require()


_scope: contextvars.ContextVar[_Scope] = contextvars.ContextVar("scope")
_endless = _Scope(fails_fast=False)  #: what runs outside an execution, TestState for instance
_executions: dict[str, _Scope] = {}  #: ARN -> scope of an execution under way


def _current_scope() -> _Scope:
    return _scope.get(_endless)


@contextmanager
def _inner_scope(*, fails_fast: bool) -> Iterator[_Scope]:
    outer, inner = _current_scope(), _Scope(fails_fast=fails_fast)
    token = _scope.set(inner)
    try:
        with outer.listening(inner.end):
            yield inner
    finally:
        _scope.reset(token)
        outer.require()  # where the outer one has ended, what came of the inner one does not count


@_wraps(stepfunctions, "_fail_execution", "an execution that has ended keeps its status")
def end_is_final(original: Any, execution: Any, error: Any, cause: Any) -> None:
    if execution["status"] == "RUNNING":
        original(execution, error, cause)


@_wraps(stepfunctions, "_run_execution", "an execution ends at its TimeoutSeconds, as TIMED_OUT, with all its branches")
def execution_ends_whole(original: Any, arn: str) -> None:
    scope = _executions[arn] = _Scope(fails_fast=False)
    token = _scope.set(scope)
    timer = _timer(arn, scope)
    try:
        original(arn)
    except _Ended:
        pass  # whoever ended it has set its status
    finally:
        if timer:
            timer.cancel()
        _scope.reset(token)
        _executions.pop(arn, None)


def _begin_at_once() -> None:
    """Step Functions' own sleep: 0.15 s before the first state. Waits of states are ``sleep_can_be_ended``."""
    stepfunctions.time = types.SimpleNamespace(**vars(time) | {"sleep": lambda _seconds: None})


PATCHES.append(Patch("begin_at_once", "an execution enters its first state at once", _begin_at_once))


@_wraps(stepfunctions, "_stop_execution", "an execution that is stopped ends with all its branches")
def stop_reaches_branches(original: Any, request: Any) -> Any:
    answer = original(request)
    scope = _executions.get(request.get("executionArn"))
    if scope and stepfunctions._executions[request["executionArn"]]["status"] == "ABORTED":
        scope.end()
    return answer


def _timer(arn: str, scope: _Scope) -> threading.Timer | None:
    """Ends the execution as TIMED_OUT after the state machine's TimeoutSeconds."""
    execution = stepfunctions._executions.get(arn) or {}
    machine = stepfunctions._state_machines.get(execution.get("stateMachineArn")) or {}
    try:
        seconds = json.loads(machine.get("definition", "{}")).get("TimeoutSeconds")
    except ValueError:
        return None  # the emulator says so itself
    if seconds is None:
        return None
    timer = threading.Timer(seconds, contextvars.copy_context().run, (_time_out, execution, scope))
    timer.daemon = True
    timer.start()
    return timer


def _time_out(execution: Any, scope: _Scope) -> None:
    if execution["status"] != "RUNNING":
        return
    execution |= {"status": "TIMED_OUT", "stopDate": stepfunctions.now_iso()}
    stepfunctions._add_event(execution, "ExecutionTimedOut")
    stepfunctions._emit_execution_status_event(execution)
    scope.end()


def _in_scope(original: Any, state: Any, given: Any, execution: Any, ctx: Any) -> Any:
    distributed = (state.get("ItemProcessor") or {}).get("ProcessorConfig", {}).get("Mode") == "DISTRIBUTED"
    with _inner_scope(fails_fast=not distributed):  # a distributed Map decides by its tolerated failures
        return original(state, given, execution, ctx)


_FAILS_FAST = "the first branch or item that fails ends the others at once"
_wraps(stepfunctions, "_run_parallel_branches", _FAILS_FAST)(_in_scope)
_wraps(stepfunctions, "_run_map_items", _FAILS_FAST)(_in_scope)


@_wraps(stepfunctions, "_run_sub_machine", _FAILS_FAST)
def branch_ends_its_siblings(original: Any, *args: Any) -> Any:
    scope = _current_scope()
    try:
        scope.require()
        return original(*args)
    except _Ended:
        return None  # nobody looks at it: the scope's outcome is the error that ended it
    except BaseException:
        if scope.fails_fast:
            scope.end()
        raise


def _enter(original: Any, *args: Any) -> Any:
    _current_scope().require()
    return original(*args)


for _kind in ("pass", "task", "choice", "wait", "parallel", "map"):
    _wraps(
        stepfunctions,
        f"_execute_{_kind}",
        "no state is entered after the end of its execution or of its Parallel or Map",
    )(_enter)


@_wraps(stepfunctions, "_scaled_sleep", "the end of an execution, Parallel or Map also ends what waits in it")
def sleep_can_be_ended(_original: Any, seconds: float) -> None:
    scaled = seconds * stepfunctions._SFN_WAIT_SCALE
    if scaled > 0:
        _current_scope().wait(threading.Event(), scaled)


@_wraps(stepfunctions, "_execute_task", "TimeoutSeconds of a Task may be an expression")
def timeout_is_evaluated(original: Any, state: Any, given: Any, execution: Any, ctx: Any) -> Any:
    if isinstance(state.get("TimeoutSeconds"), str) and _is_jsonata(state, ctx):
        state = state | {
            "TimeoutSeconds": stepfunctions._jsonata_state_field(state, "TimeoutSeconds", "number", given, ctx)
        }
    return original(state, given, execution, ctx)


def _call_that_can_be_left(original: Any, *args: Any) -> Any:
    """Call in a thread of its own. AWS, too, leaves a function to itself when the state that called it ends."""
    done, outcome = threading.Event(), Future[Any]()
    outcome.add_done_callback(lambda _: done.set())

    def call() -> None:
        try:
            outcome.set_result(original(*args))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(call,), daemon=True).start()
    _current_scope().wait(done)
    return outcome.result()


for _call in ("_invoke_resource", "_invoke_resource_with_timeout"):
    _wraps(stepfunctions, _call, "the end of an execution, Parallel or Map leaves the task that runs in it")(
        _call_that_can_be_left
    )


@_wraps(
    stepfunctions, "_invoke_with_callback", "the end of an execution, Parallel or Map makes its task tokens worthless"
)
def callback_can_be_left(original: Any, resource: Any, given: Any, token: str, state: Any) -> Any:
    try:
        return _call_that_can_be_left(original, resource, given, token, state)
    except _Ended:
        if waiter := stepfunctions._task_tokens.pop(token, None):
            waiter["event"].set()
        raise


# --- Lambda -----------------------------------------------------------------------------------------------------------

_END_OF_LOG = "\x00end of invocation"
_failure: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("failure", default=None)

#: in the worker's program: what is there -> what takes its place
_WORKER_EDITS = (
    (  # an exception of the handler is an answer like any other: the environment stays warm
        '_real_stdout.write(json.dumps({"status": "error", "error": str(e), "trace": traceback.format_exc()}) + "\\n")',
        '_real_stdout.write(json.dumps({"status": "ok", "result": None, "raised": {"errorMessage": str(e), '
        '"errorType": type(e).__name__, "stackTrace": traceback.format_exception(e)}}) + "\\n")',
    ),
    (  # say where the log of an invocation ends, before the answer goes out
        "            result = handler_fn(event, context)\n",
        "            try:\n                result = handler_fn(event, context)\n"
        f"            finally:\n                print({_END_OF_LOG!r}, file=sys.stderr, flush=True)\n",
    ),
)


def _edit_worker() -> None:
    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    for old, new in _WORKER_EDITS:
        if script.count(old) != 1:
            raise RuntimeError(f"the worker of MiniStack has no {old!r}")
        script = script.replace(old, new)
    lambda_runtime._PYTHON_WORKER_SCRIPT = script


PATCHES.append(
    Patch("worker", "a function that raises stays warm, and its log is complete when it answers", _edit_worker)
)


@_wraps(
    lambda_runtime.Worker,
    "_drain_stderr_bounded",
    "a synchronous call takes as long as the function, not 50 ms at least",
)
def log_ends_where_it_ends(_original: Any, worker: Any, *_args: Any, hard_cap: float = 0.25, **_kw: Any) -> str:
    lines: list[str] = []
    deadline = time.monotonic() + hard_cap  # for a worker that died and cannot say
    with contextlib.suppress(queue.Empty):
        while True:
            line = worker._stderr_queue.get(timeout=max(0.0, deadline - time.monotonic()))
            text, end, _ = line.partition(_END_OF_LOG)
            if text or not end:
                lines.append(text)
            if end:
                break
    return "\n".join(lines)


@_wraps(
    lambda_runtime.Worker,
    "invoke",
    "the error of a failed function is the class of its exception, or Runtime.ExitError",
)
def worker_tells_the_error(original: Any, worker: Any, event: Any, request_id: str, **options: Any) -> Any:
    answer = original(worker, event, request_id, **options)
    if "raised" in answer:
        _failure.set(answer["raised"])
        return answer | {"status": "error", "error": answer["raised"]["errorMessage"]}
    if answer.get("status") == "error" and not lambda_svc._RIE_TIMEOUT_TEXT_RE.fullmatch(answer.get("error", "")):
        message = f"RequestId: {request_id} Error: Runtime exited without providing a reason"
        _failure.set({"errorMessage": message, "errorType": "Runtime.ExitError"})
    return answer


@_wraps(
    lambda_svc,
    "_execute_function_warm",
    "the error of a failed function is the class of its exception, or Runtime.ExitError",
)
def function_error_has_its_type(original: Any, *args: Any, **options: Any) -> Any:
    token = _failure.set(None)
    try:
        answer = original(*args, **options)
        failure = _failure.get()
        return answer | {"body": failure} if answer.get("error") and failure else answer
    finally:
        _failure.reset(token)


# --- EventBridge Scheduler --------------------------------------------------------------------------------------------

_SCHEDULED_TIME = "<aws.scheduler.scheduled-time>"
_last_due: dict[Any, datetime] = {}  #: key of a schedule -> the time for which it was last due


@_wraps(
    scheduler,
    "_tick_schedules",
    "a cron is in the time zone of its schedule, with daylight saving time, and the input tells for when it was due",
)
def schedules_have_time_zones(original: Any) -> None:
    now = datetime.now(UTC)
    for key, schedule in list(scheduler._schedules._data.items()):
        fields = eventbridge._parse_cron_fields(schedule["ScheduleExpression"])
        if fields is None or schedule["State"] != "ENABLED":
            continue
        scheduler._schedule_last_fired[key] = now.timestamp()  # nothing is left for the original to do
        since = max(_last_due.get(key, now - _LATEST), datetime.fromtimestamp(schedule["LastModificationDate"], UTC))
        due = next_due(fields, ZoneInfo(schedule["ScheduleExpressionTimezone"]), since)
        if due is not None and due <= now:
            _last_due[key] = due
            _call_target(key, schedule, due)
    original()


_LATEST = timedelta(minutes=2)  #: what was due while nobody looked, because the emulator was down, is not made up for


def next_due(fields: Any, zone: ZoneInfo, since: datetime) -> datetime | None:
    """The first time after ``since`` at which a clock in the zone shows what the fields say.

    What it shows twice counts once, the first time; what it never shows does not count.
    """
    shown: datetime | None = since.astimezone(zone).replace(tzinfo=UTC)  # the clock's face, as the emulator reckons
    while shown is not None:
        shown = eventbridge._cron_next_fire(fields, shown)
        if shown is None:
            return None
        due = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
        if due > since and due.astimezone(zone).replace(tzinfo=UTC) == shown:
            return due
    return None


def _call_target(key: Any, schedule: Any, due: datetime) -> None:
    account, region, _ = key
    target = schedule["Target"]
    text = target.get("Input", "{}").replace(_SCHEDULED_TIME, due.strftime("%Y-%m-%dT%H:%M:%SZ"))
    event = {
        "EventId": scheduler.new_uuid(),
        "Source": "aws.scheduler",
        "DetailType": "Scheduled Event",
        "Detail": "{}",
        "Time": due.timestamp(),
        "Resources": [schedule["Arn"]],
        "Account": account,
        "Region": region,
    }
    before = scheduler.get_account_id(), scheduler.get_region()
    try:
        scheduler.set_request_account_id(account)
        scheduler.set_request_region(region)
        eventbridge._invoke_target(target | {"Input": text}, event, schedule)
    finally:
        scheduler.set_request_account_id(before[0])
        scheduler.set_request_region(before[1])


# --- API Gateway ------------------------------------------------------------------------------------------------------

_GATEWAY_RESPONSES = "x-amazon-apigateway-gateway-responses"


def _import_gateway_responses(api_id: str, document: Any) -> None:
    apigateway_v1._gateway_responses[api_id] = {}
    for kind, response in (document.get(_GATEWAY_RESPONSES) or {}).items():
        apigateway_v1._put_gateway_response(api_id, kind, response)


@_wraps(apigateway_v1, "_import_rest_api", "an OpenAPI document brings its gateway responses")
def import_brings_gateway_responses(original: Any, document: Any, data: Any = None) -> Any:
    api_id = original(document, data)
    _import_gateway_responses(api_id, document)
    return api_id


def _update_rest_api(original: Any, api_id: str, old: Any, new: Any, *args: Any, **options: Any) -> Any:
    document = new.get("Body")
    if isinstance(document, dict) and document != old.get("Body"):
        resources = apigateway_v1._resources[api_id]
        for resource_id in [key for key, resource in resources.items() if resource["path"] != "/"]:
            del resources[resource_id]
        for root in resources.values():
            root["resourceMethods"] = {}
        apigateway_v1._authorizers_v1[api_id] = {}
        schemes = apigateway_v1._import_security_schemes(api_id, document)
        for path, item in document.get("paths", {}).items():
            apigateway_v1._import_path_item(api_id, path, item, schemes, document.get("security"))
        _import_gateway_responses(api_id, document)
        old = old | {"Body": document}
    return original(api_id, old, new, *args, **options)


def _keep_rest_api() -> None:
    handlers = provisioners._RESOURCE_HANDLERS["AWS::ApiGateway::RestApi"]
    handlers["update"] = functools.partial(_update_rest_api, handlers["update"])


PATCHES.append(
    Patch("keep_rest_api", "a changed OpenAPI document updates the API in place: its URL stays", _keep_rest_api)
)
