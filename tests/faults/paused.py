"""A writer that stops itself (SIGSTOP) right before it commits, with everything written aside; then goes on if told.

Arguments: location, host name, clip. Prints whether it won.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Any
from unittest import mock

from writers import put

from cache.store import open_store


def main() -> None:
    location, host, clip = sys.argv[1:]
    socket.gethostname = lambda: host
    store, rename = open_store(location, writable=True), os.rename
    put(store, f"{clip}-before", 1)  # so that what is renamed next is a track

    def stop_first(*arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        rename(*arguments)

    with mock.patch.object(os, "rename", stop_first):
        print(put(store, clip, 1), flush=True)


if __name__ == "__main__":
    main()
