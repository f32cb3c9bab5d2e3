"""The emulator as a program: ``python -m infra.local.emulator``, started by ``infra.local.process`` and by nothing
else.

It names itself in the process file before anything else, so that there is no moment in which it runs and nobody knows
of it. Then it sets up MiniStack by its environment (it reads it when it is imported), applies our patches, and hands
over to MiniStack's own main. SIGTERM makes MiniStack save its state and end.
"""

from __future__ import annotations

import json
import os
import shutil
import sys

import psutil

from infra.local.home import REGION, Home


def _introduce(home: Home, fingerprint: str) -> None:
    me = psutil.Process()
    fresh = home.process_file.with_suffix(".new")
    record = {"pid": me.pid, "started": me.create_time(), "port": home.port, "fingerprint": fingerprint}
    fresh.write_text(json.dumps(record))
    fresh.replace(home.process_file)


def _configure(home: Home) -> None:
    shutil.rmtree(home.scratch, ignore_errors=True)  # of one that was killed
    for folder in (home.state, home.objects, home.scratch):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ |= home.environment() | {
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(home.port),
        "MINISTACK_HOST": "127.0.0.1",
        "MINISTACK_REGION": REGION,
        "PERSIST_STATE": "1",
        "STATE_DIR": str(home.state),
        "S3_PERSIST": "1",
        "S3_DATA_DIR": str(home.objects),
        "TMPDIR": str(home.scratch),
        # A worker is a Python process with the SDK in it, 60 MB or so; more at once than this only slows a laptop down.
        "LAMBDA_ACCOUNT_CONCURRENCY": os.environ.get("LAMBDA_ACCOUNT_CONCURRENCY", "64"),
        "LAMBDA_EXECUTOR": "local",
        "DOCKER_HOST": "unix:///nonexistent",  # at its start it removes containers of other emulators: not from here
        # Listeners on ports of their own, for services that we do not use.
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }


def main(fingerprint: str) -> None:
    home = Home.from_environment()
    _introduce(home, fingerprint)
    _configure(home)

    from infra.local import patches  # imports MiniStack, which reads its environment as it is imported

    if os.environ.get("MILLRACE_EMULATOR_PATCHES") != "off":  # off: for the tests that show what a patch is good for
        patches.apply()
    from ministack.app import main as serve

    sys.argv = ["ministack"]
    serve()


if __name__ == "__main__":
    main(sys.argv[1])
