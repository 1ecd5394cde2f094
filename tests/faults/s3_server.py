"""An S3 server on loopback, until its input closes: moto's, which speaks the protocol and keeps objects in memory."""

from __future__ import annotations

import sys
import threading
from typing import Any

from moto.s3 import responses
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, as a real server keeps them

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Kept, not printed: a test asks how many requests a look costs."""
        requests.append(f"{self.command} {self.path}")


requests: list[str] = []


def main() -> None:
    # moto looks whether a key is there and puts it in two steps. S3 does both at once, so they are under one lock here.
    put, lock = responses.S3Response.put_object, threading.Lock()

    def at_once(self: Any) -> Any:
        with lock:
            return put(self)

    responses.S3Response.put_object = at_once
    server = make_server(
        "127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True, request_handler=_Quiet
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for _ in sys.stdin:  # each line asks how many requests there were since the last one
        print(len(requests), flush=True)
        requests.clear()


if __name__ == "__main__":
    main()
