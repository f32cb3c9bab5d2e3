"""The Chalice app: creates it and mounts what is in ``chalicelib``; nothing else."""

from chalice import Chalice

from chalicelib.api import health
from chalicelib.api.executions import routes as executions
from chalicelib.api.workflows import routes as workflows
from chalicelib.events import node_task, run_status, script_task

app = Chalice(app_name="millrace")

for part in (health, workflows, executions, node_task, script_task, run_status):
    app.register_blueprint(part.blueprint)
