"""The composition root: the one place that knows how everything is wired.

``services(settings)`` is what the edges call; a test says ``services(settings, clock=FakeClock())``. Everything is made
when it is first asked for, and no client is opened before. So are modules imported: who lists workflows needs neither
the compiler nor an engine, and a cold start pays for what its first request uses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache, cached_property
from typing import TYPE_CHECKING

from chalicelib.cloud.sdk import client, session
from chalicelib.foundation.clock import Clock, SystemClock
from chalicelib.foundation.ids import Ids, RandomIds
from chalicelib.foundation.logs import logger
from chalicelib.foundation.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from chalicelib.cloud.api_server import ApiServer
    from chalicelib.cloud.kms import Envelope
    from chalicelib.cloud.schedules import Schedules
    from chalicelib.cloud.state_machines import StateMachines
    from chalicelib.compiler.asl.layout import Budget
    from chalicelib.compiler.plan import Plan
    from chalicelib.engines.chains import ChainRunner
    from chalicelib.engines.payloads import Payloads
    from chalicelib.engines.step import StepRunner
    from chalicelib.engines.stepfunctions import StepFunctionsEngine
    from chalicelib.foundation.json_types import Value
    from chalicelib.graph.deployments import Deployed
    from chalicelib.nodes.capabilities import Caller, Capabilities
    from chalicelib.services.aftermath import Aftermath
    from chalicelib.services.approvals import ApprovalService
    from chalicelib.services.audit import AuditService
    from chalicelib.services.children import Children
    from chalicelib.services.control import RunControl
    from chalicelib.services.credentials import CredentialService
    from chalicelib.services.deployed import DeployedRuns, Observer
    from chalicelib.services.deployments import DeploymentService
    from chalicelib.services.editing import EditingService
    from chalicelib.services.events import EventService
    from chalicelib.services.executions import ExecutionService
    from chalicelib.services.in_process import InProcessRuns
    from chalicelib.services.inbound_email import InboundEmail
    from chalicelib.services.keys import KeyService
    from chalicelib.services.lifecycle import Lifecycle
    from chalicelib.services.limits import Limits
    from chalicelib.services.programs import Programs
    from chalicelib.services.queue import QueueService
    from chalicelib.services.reconciler import Cluster as AnyCluster
    from chalicelib.services.scheduled_runs import ScheduledRuns
    from chalicelib.services.schedules import ScheduleService
    from chalicelib.services.sharing import SharingService
    from chalicelib.services.signatures import SignatureService
    from chalicelib.services.telling import Telling
    from chalicelib.services.templates import TemplateService
    from chalicelib.services.trials import RunNode, TrialService
    from chalicelib.services.triggering import TriggerService
    from chalicelib.services.upkeep import Upkeep
    from chalicelib.services.versions import VersionService
    from chalicelib.services.webhooks import WebhookService
    from chalicelib.services.workflows import WorkflowService
    from chalicelib.store.blobs import Blobs
    from chalicelib.store.claims import ClaimRepository
    from chalicelib.store.credentials import CredentialRepository
    from chalicelib.store.deployments import DeploymentRepository
    from chalicelib.store.executions import ExecutionRepository
    from chalicelib.store.gates import GateRepository
    from chalicelib.store.group_commit import Commits
    from chalicelib.store.machines import MachineRepository
    from chalicelib.store.plans import PlanRepository
    from chalicelib.store.replies import ReplyRepository
    from chalicelib.store.table import Table
    from chalicelib.store.triggers import TriggerRepository
    from chalicelib.store.versions import VersionRepository
    from chalicelib.store.workflows import WorkflowRepository

_TRIAL_TIMEOUT_S = 25  # API Gateway waits 29 s for an answer
_SCRIPT_TIMEOUT_S = 330  # a script may run for 300 s


class Services:
    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        capabilities: Capabilities | None = None,
        engine: StepFunctionsEngine | None = None,
        pool: ThreadPoolExecutor | None = None,
        budget: Budget | None = None,
        commits: Commits | None = None,
        lease: timedelta | None = None,
        leave_within: timedelta | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self._sleep = sleep
        self.clock = self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._given_capabilities = capabilities
        self._given_engine = engine
        self._pool = pool
        self._budget = budget
        self._given_commits = commits
        self._lease = lease
        self._leave_within = leave_within

    @cached_property
    def keys(self) -> KeyService:
        from chalicelib.services.keys import KeyService
        from chalicelib.store.api_keys import ApiKeyRepository

        return KeyService(ApiKeyRepository(self._table), self.audit, self._ids, self._clock)

    @cached_property
    def workflows(self) -> WorkflowService:
        from chalicelib.nodes.registry import CATALOG
        from chalicelib.services.workflows import WorkflowService

        return WorkflowService(
            self._workflows,
            self._versions,
            self._triggers,
            self.schedules,
            self.audit,
            CATALOG,
            self._ids,
            self._clock,
            lambda principal, workflow: self.deployments.undeploy(principal, workflow).workflow,
        )

    @cached_property
    def deployments(self) -> DeploymentService:
        from chalicelib.services.deployments import DeploymentService
        from chalicelib.services.reconciler import Reconciler
        from chalicelib.store.apps import AppRepository

        reconciler = Reconciler(self._deployments, lambda: self.cluster, self._clock, self._sleep)
        return DeploymentService(
            deployments=self._deployments,
            apps=AppRepository(self._table),
            repository=self._workflows,
            workflows=self.workflows,
            executions=self.executions,
            cluster=lambda: self.cluster,
            reconciler=reconciler,
            audit=self.audit,
            clock=self._clock,
            answer_limit_s=self.settings.answer_limit_s,
        )

    @cached_property
    def triggering(self) -> TriggerService:
        from chalicelib.services.triggering import TriggerService

        return TriggerService(
            deployments=self.deployments,
            executions=self.executions,
            records=self._executions,
            claims=self._claims,
            payloads=self.payloads,
            cluster=lambda: self.cluster,
            ids=self._ids,
            clock=self._clock,
            answer_limit_s=self.settings.answer_limit_s,
            sleep=self._sleep,
        )

    @cached_property
    def schedules(self) -> ScheduleService:
        from chalicelib.services.schedules import ScheduleService
        from chalicelib.store.schedules import ScheduleRepository

        notes = ScheduleRepository(self._table)
        return ScheduleService(notes, self._workflows, lambda: self._scheduler, self._clock)

    @cached_property
    def scheduled_runs(self) -> ScheduledRuns:
        from chalicelib.services.scheduled_runs import ScheduledRuns

        return ScheduledRuns(self.executions, self._workflows, lambda: self._scheduler)

    @cached_property
    def inbound_email(self) -> InboundEmail:
        from chalicelib.services.inbound_email import InboundEmail
        from chalicelib.store.mailbox import Mailbox

        return InboundEmail(
            domain=self.settings.inbound_domain,
            mailbox=Mailbox(client("s3", self.settings.region), self.settings.bucket),
            triggers=self._triggers,
            claims=self._claims,
            workflows=self._workflows,
            executions=self.executions,
            audit=self.audit,
            ids=self._ids,
            clock=self._clock,
        )

    @cached_property
    def _scheduler(self) -> Schedules:
        from chalicelib.cloud.schedules import Schedules

        settings = self.settings
        return Schedules(
            client("scheduler", settings.region),
            group=settings.schedule_group,
            target=settings.schedules_function,
            role=settings.scheduler_role,
            dead_letters=settings.dead_letters_arn,
        )

    @cached_property
    def editing(self) -> EditingService:
        from chalicelib.nodes.registry import CATALOG
        from chalicelib.services.editing import EditingService

        return EditingService(self.workflows, CATALOG, self._ids)

    @cached_property
    def versions(self) -> VersionService:
        from chalicelib.services.versions import VersionService

        return VersionService(self.workflows, self._versions, self._clock)

    @cached_property
    def sharing(self) -> SharingService:
        from chalicelib.services.sharing import SharingService

        return SharingService(self.workflows, self._clock)

    @cached_property
    def templates(self) -> TemplateService:
        from chalicelib.services.templates import TemplateService

        return TemplateService(self.workflows)

    @cached_property
    def credentials(self) -> CredentialService:
        from chalicelib.services.credentials import CredentialService

        return CredentialService(self._credentials, self._envelope, self.audit, self._clock)

    @cached_property
    def audit(self) -> AuditService:
        from chalicelib.services.audit import AuditService
        from chalicelib.store.audit import AuditRepository

        return AuditService(AuditRepository(self._table), self._ids, self._clock)

    @cached_property
    def executions(self) -> ExecutionService:
        from chalicelib.nodes.registry import CATALOG
        from chalicelib.services.executions import ExecutionService

        return ExecutionService(
            executions=self._executions,
            workflows=self._workflows,
            plans=self._plans,
            payloads=self.payloads,
            engine=self._engine,
            lifecycle=self.lifecycle,
            limits=self._limits,
            catalog=CATALOG,
            ids=self._ids,
            clock=self._clock,
        )

    @cached_property
    def lifecycle(self) -> Lifecycle:
        from chalicelib.services.lifecycle import Lifecycle

        return Lifecycle(
            executions=self._executions,
            plans=self._plans,
            payloads=self.payloads,
            engine=self._engine,
            telling=self._telling,
            limits=self._limits,
            follow=lambda execution, steps: self._aftermath.follow(execution, steps),
            clock=self._clock,
        )

    @cached_property
    def _limits(self) -> Limits:
        from chalicelib.services.limits import Limits
        from chalicelib.store.lines import LineRepository

        default = self.settings.max_concurrent_runs
        return Limits(LineRepository(self._table), self._executions, self._workflows, default, self._clock)

    @cached_property
    def _aftermath(self) -> Aftermath:
        from chalicelib.services.aftermath import Aftermath

        return Aftermath(
            executions=self._executions,
            workflows=self._workflows,
            plans=self._plans,
            payloads=self.payloads,
            telling=self._telling,
            service=self.executions,
            give_up=self.lifecycle.give_up,
            audit=self.audit,
        )

    @cached_property
    def _telling(self) -> Telling:
        from chalicelib.services.telling import Telling

        return Telling(self._replies, self._gates, self._machines, self._clock)

    @cached_property
    def approvals(self) -> ApprovalService:
        from chalicelib.services.approvals import ApprovalService
        from chalicelib.store.approvals import ApprovalRepository

        approvals = ApprovalRepository(self._table)
        return ApprovalService(approvals, self._workflows, self.payloads, self._telling, self.audit, self._clock)

    @cached_property
    def events(self) -> EventService:
        from chalicelib.services.events import EventService
        from chalicelib.store.subscriptions import SubscriptionRepository

        return EventService(
            subscriptions=SubscriptionRepository(self._table),
            triggers=self._triggers,
            claims=self._claims,
            workflows=self._workflows,
            executions=self.executions,
            payloads=self.payloads,
            telling=self._telling,
            audit=self.audit,
            ids=self._ids,
            clock=self._clock,
        )

    @cached_property
    def webhooks(self) -> WebhookService:
        from chalicelib.services.webhooks import WebhookService
        from chalicelib.store.rates import RateRepository

        return WebhookService(
            triggers=self._triggers,
            rates=RateRepository(self._table),
            claims=self._claims,
            workflows=self._workflows,
            repository=self._executions,
            executions=self.executions,
            call_runner=lambda event: self.run_node(event),
            per_minute=self.settings.webhook_rate,
            ids=self._ids,
            clock=self._clock,
        )

    @cached_property
    def signatures(self) -> SignatureService:
        from chalicelib.engines.secrets import StoredCredentials
        from chalicelib.services.signatures import SignatureService

        return SignatureService(StoredCredentials(self._credentials, lambda: self._envelope))

    @cached_property
    def queue(self) -> QueueService:
        from chalicelib.cloud.queues import Queue
        from chalicelib.services.queue import QueueService

        sqs = client("sqs", self.settings.region)
        return QueueService(
            queue=Queue(sqs, self.settings.queue_url),
            dead_letters=Queue(sqs, self.settings.dead_letter_url),
            executions=self.executions,
            workflows=self._workflows,
        )

    @cached_property
    def children(self) -> Children:
        from chalicelib.services.children import Children

        return Children(self._executions, self._workflows, self.executions)

    @cached_property
    def control(self) -> RunControl:
        from chalicelib.services.control import RunControl

        return RunControl(
            executions=self.executions,
            lifecycle=self.lifecycle,
            limits=self._limits,
            engine=self._engine,
            repository=self._executions,
            plans=self._plans,
            audit=self.audit,
            clock=self._clock,
        )

    @cached_property
    def trials(self) -> TrialService:
        from chalicelib.nodes.registry import CATALOG
        from chalicelib.services.trials import TrialService

        return TrialService(CATALOG, self.run_node, self._ids, self._clock)

    @cached_property
    def run_node(self) -> RunNode:
        from chalicelib.cloud.functions import LambdaFunction

        # One try: a node may do things that are not to be done twice.
        caller = client("lambda", self.settings.region, read_timeout_s=_TRIAL_TIMEOUT_S, attempts=1)
        return LambdaFunction(caller, self.settings.node_function).call

    @cached_property
    def upkeep(self) -> Upkeep:
        from chalicelib.services.upkeep import Upkeep
        from chalicelib.store.retention import RetentionRepository

        return Upkeep(
            executions=self._executions,
            lifecycle=self.lifecycle,
            limits=self._limits,
            machines=self._machine_uses,
            step_functions=self._machines,
            retention=RetentionRepository(self._table, self._blobs),
            workflows=self._workflows,
            schedules=self.schedules,
            deployments=self.deployments,
            clock=self._clock,
        )

    @cached_property
    def steps(self) -> StepRunner:
        from chalicelib.engines.joins import GatedJoins
        from chalicelib.engines.secrets import StoredCredentials
        from chalicelib.engines.step import StepRunner
        from chalicelib.engines.waiting import Waiting
        from chalicelib.nodes.registry import CATALOG
        from chalicelib.store.turns import TurnRepository

        return StepRunner(
            executions=self._executions,
            plans=self._plans,
            payloads=self.payloads,
            joins=GatedJoins(self._gates, self._machines),
            catalog=CATALOG,
            capabilities=replace(self._given_capabilities or self._capabilities, workflows=_Workflows(self)),
            credentials=StoredCredentials(self._credentials, lambda: self._envelope),
            turns=TurnRepository(self._table, self._clock),
            waiting=Waiting(self._replies, self._gates, self._clock),
            clock=self._clock,
        )

    @cached_property
    def in_process(self) -> InProcessRuns:
        """Only of use within one event loop."""
        from chalicelib.engines.inprocess import GRACE_S, LOOK_S, InProcessEngine
        from chalicelib.nodes.registry import CATALOG
        from chalicelib.services.in_process import LEASE, InProcessRuns

        lease = self._lease or LEASE
        look_s = min(LOOK_S, lease.total_seconds() / 6)
        grace_s = GRACE_S if self._leave_within is None else self._leave_within.total_seconds()
        engine = InProcessEngine(CATALOG, self._clock, pool=self._pool, look_s=look_s, grace_s=grace_s)
        return InProcessRuns(
            holder=self._ids.new("proc"),
            executions=self._executions,
            plans=self._plans,
            lifecycle=self.lifecycle,
            steps=self.steps,
            engine=engine,
            machines=self._engine,
            commits=self.commits,
            clock=self._clock,
            lease=lease,
        )

    def deployed_runs(self, deployed: Deployed, *, at_once: int, observer: Observer) -> DeployedRuns:
        """For a process that serves one version of a workflow, for as long as it lives. Reads the plan, and the table
        once, to see that both are there: raises ``Downstream`` where they are not. Only of use within one event loop.
        """
        from chalicelib.services.deployed import DeployedRuns

        plan = self._plans.get(deployed.plan)
        self._executions.get(deployed.organization_id, "none")
        machine = self._engine.definition(plan).name
        return DeployedRuns(
            deployed=deployed,
            plan=plan,
            machine=machine,
            in_process=self.in_process,
            programs=self._programs(deployed, plan, machine),
            executions=self._executions,
            payloads=self.payloads,
            limits=self._limits,
            default_limit=self.settings.max_concurrent_runs,
            at_once=at_once,
            observer=observer,
            ids=self._ids,
            clock=self._clock,
        )

    def _programs(self, deployed: Deployed, plan: Plan, machine: str) -> Programs | None:
        from chalicelib.engines.program import Program, is_program
        from chalicelib.nodes.registry import CATALOG
        from chalicelib.services.programs import Programs

        if not is_program(plan, CATALOG):
            return None
        program = Program(plan, CATALOG, self._clock)
        return Programs(program, deployed, machine, self.commits, self._table.text, self._clock)

    @cached_property
    def commits(self) -> Commits:
        """Of use within one event loop, and to be closed in it; connects when something is to be committed."""
        if self._given_commits is not None:
            return self._given_commits
        from chalicelib.store.group_commit import GroupCommit
        from chalicelib.store.wire import Wire

        return GroupCommit(Wire(client("dynamodb", self.settings.region), self.settings.table, session()))

    @cached_property
    def chains(self) -> ChainRunner:
        from chalicelib.engines.chains import ChainRunner
        from chalicelib.engines.patience import Patience

        patience = Patience(self._executions, self._clock)
        return ChainRunner(self.steps, self._executions, self._plans, self._clock, patience)

    @cached_property
    def payloads(self) -> Payloads:
        from chalicelib.engines.payloads import Payloads

        return Payloads(self._blobs)

    @cached_property
    def _engine(self) -> StepFunctionsEngine:
        from chalicelib.engines.stepfunctions import StepFunctionsEngine

        if self._given_engine is not None:
            return self._given_engine

        settings = self.settings
        return StepFunctionsEngine(
            self._machines,
            self._gates,
            self._machine_uses,
            stage=settings.stage,
            node_function=settings.node_function,
            table=settings.table,
            budget=self._budget,
        )

    @cached_property
    def _machines(self) -> StateMachines:
        from chalicelib.cloud.state_machines import StateMachines

        settings = self.settings
        return StateMachines(
            client("stepfunctions", settings.region),
            region=settings.region,
            role=settings.state_machine_role,
            stage=settings.stage,
        )

    @cached_property
    def _capabilities(self) -> Capabilities:
        from chalicelib.cloud.bedrock import BedrockModels
        from chalicelib.cloud.bus import EventBus
        from chalicelib.cloud.http import GuardedHttpClient
        from chalicelib.cloud.mailer import SesMailer
        from chalicelib.cloud.objects import S3Objects
        from chalicelib.cloud.queues import SqsQueues
        from chalicelib.cloud.scripts import LambdaScripts
        from chalicelib.nodes.ai.agent import MODEL_CALL_S
        from chalicelib.nodes.capabilities import Capabilities

        region = self.settings.region
        # One try: whether a call of a user's is worth another is for the settings of the node to say.
        scripts = client("lambda", region, read_timeout_s=_SCRIPT_TIMEOUT_S, attempts=1)
        return Capabilities(
            http=GuardedHttpClient(allow_loopback=self.settings.allow_loopback),
            objects=S3Objects(client("s3", region), self.settings.bucket),
            queues=SqsQueues(client("sqs", region), (self.settings.queue_url, self.settings.dead_letter_url)),
            scripts=LambdaScripts(scripts, self.settings.script_function),
            bedrock=BedrockModels(lambda: client("bedrock-runtime", region, read_timeout_s=MODEL_CALL_S, attempts=1)),
            log=_NodeLog(),
            mailer=SesMailer(lambda: client("sesv2", region, attempts=1), self.settings.mail_sender),
            workflows=_Workflows(self),
            events=EventBus(client("events", region), self.settings.event_bus),
        )

    @cached_property
    def cluster(self) -> AnyCluster:
        """Where deployed workflows run. Raises ``Conflict`` where this stage has no cluster."""
        from chalicelib.cloud.cluster import Cluster
        from chalicelib.cloud.manifests import PodOptions

        settings = self.settings
        server = self._api_server
        # Of the cluster itself a pod knows nothing: it has no business with the API server.
        told = replace(settings, cluster="", kubeconfig="")
        options = PodOptions(
            namespace=settings.namespace,
            image=settings.pod_image,
            stage=settings.stage,
            environment={**told.to_environment(), "POWERTOOLS_SERVICE_NAME": "millrace", "LOG_LEVEL": "INFO"},
            trigger_from=_listed(settings.trigger_from),
            closed_to=_listed(settings.closed_to_pods),
        )
        return Cluster(server, options, route=settings.trigger_route)

    @cached_property
    def _api_server(self) -> ApiServer:
        from chalicelib.cloud.api_server import ApiServer, by_kubeconfig
        from chalicelib.foundation.errors import Conflict

        settings = self.settings
        kind, _, name = settings.cluster.partition(":")
        if kind == "kubeconfig":
            return ApiServer(lambda: by_kubeconfig(settings.kubeconfig))
        if kind == "eks" and name:
            return ApiServer(lambda: self._eks_client(name))
        raise Conflict("This stage has no cluster in which workflows could be deployed (parameter Cluster).")

    def _eks_client(self, name: str) -> object:
        import boto3

        from chalicelib.cloud.eks import EksToken, by_cluster_name, presigned_by

        region = self.settings.region
        token = EksToken(name, region, presigned_by(boto3.Session(), region), self._clock)
        return by_cluster_name(name, client("eks", region), token)

    @cached_property
    def _table(self) -> Table:
        from chalicelib.store.table import Table

        return Table(client("dynamodb", self.settings.region), self.settings.table)

    @cached_property
    def _blobs(self) -> Blobs:
        from chalicelib.store.blobs import Blobs

        return Blobs(client("s3", self.settings.region), self.settings.bucket)

    @cached_property
    def _workflows(self) -> WorkflowRepository:
        from chalicelib.store.workflows import WorkflowRepository

        return WorkflowRepository(self._table, self._blobs)

    @cached_property
    def _triggers(self) -> TriggerRepository:
        from chalicelib.store.triggers import TriggerRepository

        return TriggerRepository(self._table)

    @cached_property
    def _deployments(self) -> DeploymentRepository:
        from chalicelib.store.deployments import DeploymentRepository

        return DeploymentRepository(self._table)

    @cached_property
    def _claims(self) -> ClaimRepository:
        from chalicelib.store.claims import ClaimRepository

        return ClaimRepository(self._table)

    @cached_property
    def _executions(self) -> ExecutionRepository:
        from chalicelib.store.executions import ExecutionRepository

        return ExecutionRepository(self._table)

    @cached_property
    def _machine_uses(self) -> MachineRepository:
        from chalicelib.store.machines import MachineRepository

        return MachineRepository(self._table, self._clock, timedelta(days=self.settings.machine_days))

    @cached_property
    def _replies(self) -> ReplyRepository:
        from chalicelib.store.replies import ReplyRepository

        return ReplyRepository(self._table)

    @cached_property
    def _gates(self) -> GateRepository:
        from chalicelib.store.gates import GateRepository

        return GateRepository(self._table, self._clock)

    @cached_property
    def _credentials(self) -> CredentialRepository:
        from chalicelib.store.credentials import CredentialRepository

        return CredentialRepository(self._table)

    @cached_property
    def _envelope(self) -> Envelope:
        from chalicelib.cloud.kms import Envelope

        return Envelope(client("kms", self.settings.region), self.settings.key_id)

    @cached_property
    def _versions(self) -> VersionRepository:
        from chalicelib.store.versions import VersionRepository

        return VersionRepository(self._table, self._blobs)

    @cached_property
    def _plans(self) -> PlanRepository:
        from chalicelib.store.plans import PlanRepository

        return PlanRepository(self._blobs)


class _Workflows:
    """The runs that nodes start. Few do: what it takes is imported when the first does."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def start(self, caller: Caller, workflow_id: str, inputs: Value, *, waits: bool) -> str:
        return self._services.children.start(caller, workflow_id, inputs, waits=waits)


class _NodeLog:
    """The messages of ``log`` nodes, as entries of the Lambda's own log."""

    def write(self, level: str, message: str) -> None:
        getattr(logger(), level)(message)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def services(settings: Settings, **overrides: object) -> Services:
    """Everything, wired. ``overrides`` are the keyword arguments of ``Services``."""
    return Services(settings, **overrides)  # type: ignore[arg-type]


@cache
def lambda_services() -> Services:
    """The services of this Lambda: made at its first event, kept while it is warm."""
    return services(Settings.from_environment())
