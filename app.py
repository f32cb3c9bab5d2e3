"""The Chalice app: creates it and mounts what is in ``chalicelib``; nothing else."""

from chalice import Chalice

from chalicelib.api import docs_page, health, openapi
from chalicelib.api.approvals import routes as approvals
from chalicelib.api.audit import routes as audit
from chalicelib.api.credentials import routes as credentials
from chalicelib.api.executions import routes as executions
from chalicelib.api.keys import routes as keys
from chalicelib.api.webhooks import routes as webhooks
from chalicelib.api.workflows import (
    deployment_routes,
    editing_routes,
    email_routes,
    event_routes,
    library_routes,
    queue_routes,
)
from chalicelib.api.workflows import routes as workflows
from chalicelib.events import bus, inbound_email, node_task, queue, run_status, schedules, script_task, upkeep

app = Chalice(app_name="millrace")

for part in (
    health,
    openapi,
    docs_page,
    workflows,
    editing_routes,
    library_routes,
    event_routes,
    webhooks,
    queue_routes,
    email_routes,
    deployment_routes,
    executions,
    approvals,
    keys,
    credentials,
    audit,
    node_task,
    script_task,
    run_status,
    queue,
    upkeep,
    bus,
    schedules,
    inbound_email,
):
    app.register_blueprint(part.blueprint)
