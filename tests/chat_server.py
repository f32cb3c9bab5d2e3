"""A server on loopback that speaks OpenAI's chat completions, by a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "sk-l0opback"

#: From what is asked to status and body.
Answer = Callable[[Mapping[str, Any]], tuple[int, Any]]


@dataclass
class ChatServer:
    """``answer`` is the model; one without the right key is refused before, as a real one would."""

    base_url: str = ""
    answer: Answer = lambda request: (200, completion("done"))
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    client_port: int = 0  #: of the last request: by it the process is known that made it


def completion(text: str | None, *calls: tuple[str, Any], **more: Any) -> dict[str, Any]:
    """A chat completion: a text, and tools to be called as ``(name, arguments)``; arguments that are text go as is."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [
            {
                "id": f"call_{index}",
                "type": "function",
                "function": {"name": name, "arguments": given if isinstance(given, str) else json.dumps(given)},
            }
            for index, (name, given) in enumerate(calls)
        ]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "tiny",
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        **more,
    }


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    state = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.paths.append(self.path)
            state.client_port = self.client_address[1]
            if self.headers["Authorization"] != f"Bearer {KEY}":
                status, body = 401, {"error": {"message": f"Incorrect key: {self.headers['Authorization']}"}}
            else:
                state.requests.append(request)
                status, body = state.answer(request)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except ConnectionError:
                pass  # the caller was killed meanwhile

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
