"""Where a local stack keeps what it knows, and on which port it listens.

Everything lies under one folder, ``MILLRACE_HOME`` (else ``.millrace`` in the checkout), and every port follows from
``MILLRACE_PORT_BASE`` (else 4566). Two stacks with different values of both run side by side and never touch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from infra.packaging import PROJECT

REGION = "us-east-1"
DEFAULT_PORT = 4566
DEFAULT_SMTP_PORT = 2525
DEFAULT_CLUSTER_PORT = 6443
NAMESPACE = "user-workflows"  #: of the local cluster, for pods of workflows


@dataclass(frozen=True)
class Home:
    root: Path
    port: int  #: of the emulator's one endpoint; the ports of mail and of the cluster follow from it

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Home:
        """Raises ``ValueError`` for a port that is none."""
        root = Path(environ.get("MILLRACE_HOME") or PROJECT / ".millrace").resolve()
        port = int(environ.get("MILLRACE_PORT_BASE") or DEFAULT_PORT)
        if not 1 <= port <= 65533:
            raise ValueError(f"MILLRACE_PORT_BASE={port} is no port")
        return cls(root, port)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def smtp_port(self) -> int:
        """Where mails are taken."""
        return DEFAULT_SMTP_PORT if self.port == DEFAULT_PORT else self.port + 1

    @property
    def cluster_port(self) -> int:
        """Where the local cluster's API is."""
        return DEFAULT_CLUSTER_PORT if self.port == DEFAULT_PORT else self.port + 2

    @property
    def cluster_address(self) -> str:
        return f"https://127.0.0.1:{self.cluster_port}"

    @property
    def stack_file(self) -> Path:
        """What ``up`` tells other programs; holds a key, so only its owner may read it."""
        return self.root / "stack.json"

    @property
    def process_file(self) -> Path:
        """Which process is our emulator."""
        return self.root / "emulator.json"

    @property
    def mail_process_file(self) -> Path:
        return self.root / "mail.json"

    @property
    def mail_log(self) -> Path:
        return self.root / "mail.log"

    @property
    def cluster_process_file(self) -> Path:
        return self.root / "cluster.json"

    @property
    def cluster_log(self) -> Path:
        return self.root / "cluster.log"

    @property
    def cluster(self) -> Path:
        """What the local cluster keeps: its objects, its identity."""
        return self.root / "cluster"

    @property
    def pods(self) -> Path:
        """Folders of the pods that run: their logs, and which processes they are."""
        return self.cluster / "pods"

    @property
    def kubeconfig(self) -> Path:
        """Leads ``kubectl`` to the local cluster; holds a token, so only its owner may read it."""
        return self.root / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.root / "emulator.log"

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def objects(self) -> Path:
        """What the emulator's S3 holds."""
        return self.root / "s3"

    @property
    def scratch(self) -> Path:
        """The unpacked code of Lambda workers; nothing in it outlives the emulator."""
        return self.root / "tmp"

    @property
    def build(self) -> Path:
        return self.root / "build"

    def environment(self) -> dict[str, str]:
        """What turns any AWS SDK or tool towards this stack. The credentials are made up: nobody checks them."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def client(self, service: str) -> Any:
        """A boto3 client of this stack, whatever the caller's own AWS configuration says."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106 (a word, no secret)
            config=Config(connect_timeout=5, read_timeout=120, retries={"mode": "standard", "total_max_attempts": 3}),
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one ``up`` or ``down`` works on a stack at a time; a second one waits."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as file:
            flock(file, LOCK_EX)
            try:
                yield
            finally:
                flock(file, LOCK_UN)
