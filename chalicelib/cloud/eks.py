"""The way into an EKS cluster for who has nothing but a role: no kubeconfig, no program that makes tokens.

``eks:DescribeCluster`` tells where the cluster is and by which certificate it proves itself. A *token* proves who we
are: it is a presigned request to STS, ``GetCallerIdentity``, which the cluster sends and so hears our role's name from
STS itself. The header ``x-k8s-aws-id`` with the cluster's name is part of what is signed, so a token is of no use at
another cluster. This is the scheme of aws-iam-authenticator and of ``aws eks get-token``.

STS would take the request for ``PRESIGNED_S``; the cluster takes the token for 15 minutes from its signing on. Ours is
made anew after ten.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from chalicelib.foundation.clock import Clock
from chalicelib.foundation.errors import Downstream, DownstreamTimeout, Unavailable

PREFIX = "k8s-aws-v1."
HEADER = "x-k8s-aws-id"
PRESIGNED_S = 60
RENEWED_AFTER = timedelta(minutes=10)

#: A request to presign, method, URL and headers, within seconds: gives the URL.
Presign = Callable[[str, str, dict[str, str], int], str]


class EksToken:
    """The token of a cluster: made when it is first asked for, and again before it ends."""

    def __init__(self, cluster: str, region: str, presign: Presign, clock: Clock) -> None:
        self._cluster = cluster
        self._region = region
        self._presign = presign
        self._clock = clock
        self._text = ""
        self._made_at: datetime | None = None

    def text(self) -> str:
        """Raises ``Downstream`` where there are no credentials to sign with."""
        now = self._clock.now()
        if self._made_at is None or now - self._made_at >= RENEWED_AFTER:
            self._text, self._made_at = self._made(), now
        return self._text

    def _made(self) -> str:
        query = "Action=GetCallerIdentity&Version=2011-06-15"
        address = f"https://sts.{self._region}.{_suffix(self._region)}/?{query}"
        url = self._presign("GET", address, {HEADER: self._cluster}, PRESIGNED_S)
        return PREFIX + base64.urlsafe_b64encode(url.encode()).rstrip(b"=").decode()


def presigned_by(session: Any, region: str) -> Presign:
    """Presigns for STS with a botocore session's credentials (SigV4, in the query)."""

    def presign(method: str, url: str, headers: dict[str, str], expires_s: int) -> str:
        from botocore.auth import SigV4QueryAuth
        from botocore.awsrequest import AWSRequest

        credentials = session.get_credentials()
        if credentials is None:
            raise Downstream("There are no AWS credentials to prove to the cluster who we are.")
        request = AWSRequest(method=method, url=url, headers=headers)
        SigV4QueryAuth(credentials.get_frozen_credentials(), "sts", region, expires=expires_s).add_auth(request)
        signed: str = request.url
        return signed

    return presign


def by_cluster_name(cluster: str, eks: Any, token: EksToken) -> Any:
    """A client of the cluster of this name; ``eks`` is the SDK's client, which is asked once where it is.

    Raises ``Unavailable`` where it has no address yet, ``DownstreamTimeout`` and ``Downstream``.
    """
    from kubernetes.client import ApiClient, Configuration

    found = _described(cluster, eks)
    configuration = Configuration(
        host=found["endpoint"],
        ca_cert_data=base64.b64decode(found["certificateAuthority"]["data"]).decode(),
        api_key={"BearerToken": ""},
        api_key_prefix={"BearerToken": "Bearer"},
    )

    def renew(configuration: Any) -> None:
        configuration.api_key["BearerToken"] = token.text()

    configuration.refresh_api_key_hook = renew  # called for each request
    return ApiClient(configuration)


def _described(cluster: str, eks: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

    try:
        found = eks.describe_cluster(name=cluster)["cluster"]
    except (ConnectTimeoutError, ReadTimeoutError) as error:
        raise DownstreamTimeout("EKS did not answer in time.") from error
    except (BotoCoreError, ClientError) as error:
        raise Downstream(f"EKS: {error}"[:500]) from error
    if "endpoint" not in found or "data" not in found.get("certificateAuthority", {}):
        raise Unavailable(f"The EKS cluster {cluster} is {found.get('status', 'not ready')}.")
    return found


def _suffix(region: str) -> str:
    """Of the partition's names: China has its own."""
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
