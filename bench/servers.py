"""What the pod is measured beside, each a process of its own: ``python -m bench.servers bare|starlette|wire PORT``.

``bare`` is uvicorn with a handler that reads the body and answers a constant: the limit. ``starlette`` is the least
that one would write by hand, JSON in and JSON out. ``wire`` answers every call to DynamoDB as if it had been done, and
does nothing: with it, all the time that passes is the pod's own.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

ANSWER = (
    b'{"status":"succeeded","execution_id":"exec_0123456789abcdef","workflow_id":"wf_0123456789abcdef",'
    b'"output":{"text":"Hello, Ada!!","n":42}}'
)
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
_WIRE_HEADERS = [(b"content-type", b"application/x-amz-json-1.0"), (b"content-length", b"2")]


async def _read(receive: Any) -> None:
    while (await receive()).get("more_body"):
        pass


async def bare(_: Any, receive: Any, send: Any) -> None:
    await _read(receive)
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})


async def wire(_: Any, receive: Any, send: Any) -> None:
    await _read(receive)
    await send({"type": "http.response.start", "status": 200, "headers": _WIRE_HEADERS})
    await send({"type": "http.response.body", "body": b"{}"})


async def _by_hand(request: Request) -> JSONResponse:
    asked = await request.json()
    text = f"Hello, {asked['inputs']['name']}!!"
    output = {"text": text, "n": 2 * asked["inputs"]["n"]}
    told = {"status": "succeeded", "execution_id": "exec_0", "workflow_id": "wf_0", "output": output}
    return JSONResponse(told)


APPS: dict[str, Any] = {
    "bare": bare,
    "wire": wire,
    "starlette": Starlette(routes=[Route("/trigger", _by_hand, methods=["POST"])]),
}

if __name__ == "__main__":
    uvicorn.run(
        APPS[sys.argv[1]], host="127.0.0.1", port=int(sys.argv[2]), loop="uvloop", http="httptools", ws="none",
        lifespan="off", access_log=False, log_level="warning",
    )  # fmt: skip
