"""``GET /api/v1/health``: whether the API answers. It needs no key and asks nothing of other services."""

from __future__ import annotations

from typing import Literal

from chalice import Blueprint
from pydantic import BaseModel, ConfigDict

from chalicelib.api.endpoint import Answer, Call, Router

blueprint = Blueprint(__name__)
route = Router(blueprint, "Health").route


class Health(BaseModel):
    model_config = ConfigDict(defer_build=True)

    status: Literal["ok"]
    stage: str


@route("GET", "/api/v1/health", "Tell whether the API answers", scope=None, answer=Health)
def get_health(call: Call) -> Answer:
    return Answer({"status": "ok", "stage": call.services.settings.stage})
