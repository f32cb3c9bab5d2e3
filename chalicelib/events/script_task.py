"""The Lambda that runs the Python of ``script`` nodes.

It has a role that can reach nothing, and imports nothing of ours but the sandbox.
"""

from __future__ import annotations

from typing import Any

from chalice import Blueprint

blueprint = Blueprint(__name__)


@blueprint.lambda_function(name="script")
def run_user_script(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    from chalicelib.sandbox.runner import handle  # of no use to the other Lambdas, which import this module as well

    return handle(event)
