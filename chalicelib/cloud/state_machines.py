"""Step Functions: the calls that we make of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from chalicelib.foundation.errors import Downstream, DownstreamTimeout
from chalicelib.foundation.json_types import Json, dumps

_NEW_MACHINE_TRIES = 10  # a new state machine, and a new role, are known everywhere after a moment
_NEW_MACHINE_WAIT_S = 0.5


@dataclass(frozen=True)
class MachineExecution:
    status: str  # RUNNING, SUCCEEDED, FAILED, TIMED_OUT or ABORTED
    error: str | None
    cause: str | None


class StateMachines:
    """State machines by name, in one account and region."""

    def __init__(
        self, client: Any, *, region: str, role: str, stage: str, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        partition, account = role.split(":")[1], role.split(":")[4]
        self._client = client
        self._arn = f"arn:{partition}:states:{region}:{account}"
        self._role = role
        self._stage = stage
        self._sleep = sleep

    def arn(self, name: str) -> str:
        return f"{self._arn}:stateMachine:{name}"

    def create(self, name: str, definition: str) -> None:
        """Makes a state machine; one of this name and definition may be there already.

        Waits for a moment where one of this name is being deleted. Raises ``Downstream``.
        """
        for _ in range(_NEW_MACHINE_TRIES):
            try:
                self._client.create_state_machine(
                    name=name,
                    definition=definition,
                    roleArn=self._role,
                    type="STANDARD",
                    tracingConfiguration={"enabled": False},
                    tags=[{"key": "millrace:stage", "value": self._stage}],
                )
                return
            except self._client.exceptions.StateMachineAlreadyExists:
                return  # the name is the hash of the definition: whatever differs is not the definition
            except self._client.exceptions.StateMachineDeleting:
                self._sleep(_NEW_MACHINE_WAIT_S)
            except Exception as error:
                raise _translated(error) from error
        raise Downstream(f"Step Functions is still deleting an earlier state machine {name}.")

    def start(self, name: str, execution: str, text: str, *, wait: bool = False) -> bool:
        """Starts an execution, once under this name.

        False where there is no such state machine (with ``wait``: after some tries).
        """
        arn = self.arn(name)
        for attempt in range(_NEW_MACHINE_TRIES if wait else 1):
            if attempt:
                self._sleep(_NEW_MACHINE_WAIT_S)
            try:
                self._client.start_execution(stateMachineArn=arn, name=execution, input=text)
                return True
            except self._client.exceptions.ExecutionAlreadyExists:
                return True
            except (
                self._client.exceptions.StateMachineDoesNotExist,
                self._client.exceptions.StateMachineDeleting,
            ):
                continue
            except Exception as error:
                raise _translated(error) from error
        return False

    def stop(self, name: str, execution: str, cause: str) -> None:
        """Ends an execution; one that was never started, or has ended meanwhile, is left. Raises ``Downstream``."""
        try:
            self._client.stop_execution(executionArn=self._execution(name, execution), error="Cancelled", cause=cause)
        except self._client.exceptions.ExecutionDoesNotExist:
            pass
        except Exception as error:
            found = self.describe(name, execution)
            if found is not None and found.status == "RUNNING":
                raise _translated(error) from error

    def describe(self, name: str, execution: str) -> MachineExecution | None:
        try:
            found = self._client.describe_execution(executionArn=self._execution(name, execution))
        except self._client.exceptions.ExecutionDoesNotExist:
            return None
        except Exception as error:
            raise _translated(error) from error
        return MachineExecution(found["status"], found.get("error"), found.get("cause"))

    def is_running(self, name: str) -> bool:
        """Whether an execution of a state machine is under way, begun some moments ago or earlier."""
        try:
            found = self._client.list_executions(
                stateMachineArn=f"{self._arn}:stateMachine:{name}", statusFilter="RUNNING", maxResults=1
            )
        except self._client.exceptions.StateMachineDoesNotExist:
            return False
        except Exception as error:
            raise _translated(error) from error
        return bool(found["executions"])

    def delete(self, name: str) -> None:
        """Deletes a state machine, and whatever runs on it; one that is not there is left. Raises ``Downstream``."""
        try:
            self._client.delete_state_machine(stateMachineArn=f"{self._arn}:stateMachine:{name}")
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "StateMachineDoesNotExist":
                raise _translated(error) from error
        except Exception as error:
            raise _translated(error) from error

    def page(self, token: str | None, size: int) -> tuple[list[str], str | None]:
        """Some names of state machines of this stage, and the token of the next page; None after the last one.

        A token that has expired counts as none.
        """
        request = {"maxResults": size, **({"nextToken": token} if token else {})}
        try:
            found = self._client.list_state_machines(**request)
        except self._client.exceptions.InvalidToken:
            return [], None
        except Exception as error:
            raise _translated(error) from error
        names = [machine["name"] for machine in found["stateMachines"]]
        return [name for name in names if name.startswith(machine_prefix(self._stage))], found.get("nextToken")

    def wake(self, token: str, output: Json = None) -> None:
        """Lets a state go on that waits for ``token``; nothing where none does any more. Raises ``Downstream``."""
        self._answer("send_task_success", taskToken=token, output=dumps(output))

    def abort(self, token: str, error: str, cause: str) -> None:
        """Fails a state that waits for ``token``; nothing where none does any more. Raises ``Downstream``."""
        self._answer("send_task_failure", taskToken=token, error=error, cause=cause)

    def _answer(self, operation: str, **request: str) -> None:
        unknown = self._client.exceptions
        try:
            getattr(self._client, operation)(**request)
        except (unknown.TaskTimedOut, unknown.TaskDoesNotExist, unknown.InvalidToken):
            pass  # it was answered before, or has ended
        except Exception as error:
            raise _translated(error) from error

    def unavailable(self, name: str) -> Downstream:
        return Downstream(f"Step Functions does not know the state machine {name} that was just made.")

    def _execution(self, name: str, execution: str) -> str:
        return f"{self._arn}:execution:{name}:{execution}"


def machine_prefix(stage: str) -> str:
    """How the names of a stage's state machines begin; no other stage's do (no name of a stage has a hyphen)."""
    return f"millrace-{stage}-"


def _translated(error: Exception) -> Exception:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
        return DownstreamTimeout("Step Functions did not answer in time.")
    if isinstance(error, (BotoCoreError, ClientError)):
        return Downstream(f"Step Functions: {error}"[:500])
    return error
