"""``GET /api/v1/health``: whether the API answers. It needs no key and asks nothing of other services."""

from __future__ import annotations

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, router

blueprint = Blueprint(__name__)
route = router(blueprint)


@route("GET", "/api/v1/health", scope=None)
def get_health(call: Call) -> Answer:
    return Answer({"status": "ok", "stage": call.services.settings.stage})
