"""``make down``: end the local stack. What it holds is saved and is there again after the next ``make up``."""

from __future__ import annotations

import sys

from infra.local import cluster_process, mail_port, process
from infra.local.home import Home
from infra.local.process import LocalError


def main() -> int:
    try:
        home = Home.from_environment()
        with home.locked():
            cluster_process.stop(home)  # first: its pods end what they do, and need the others for it
            mail_port.stop(home)
            stopped = process.stop(home)
    except (LocalError, ValueError) as error:
        print(f"down: {error}", file=sys.stderr)
        return 1
    print("the local stack is down; its state is kept" if stopped else "the local stack was not up")
    return 0


if __name__ == "__main__":
    sys.exit(main())
