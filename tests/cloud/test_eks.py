"""The way into an EKS cluster: where it is, and the token that proves who we are."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber

from chalicelib.cloud.eks import PREFIX, EksToken, by_cluster_name, presigned_by
from chalicelib.foundation.errors import Downstream, DownstreamTimeout, Unavailable
from tests.fakes import FakeClock

REGION = "eu-central-1"
CLUSTER = "workflows"
KEY_ID, SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", "a/session+token=="
CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.fixture
def session() -> boto3.Session:
    return boto3.Session(aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET, aws_session_token=SESSION)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def token(session: boto3.Session, clock: FakeClock) -> EksToken:
    return EksToken(CLUSTER, REGION, presigned_by(session, REGION), clock)


@pytest.fixture
def eks() -> Iterator[Stubber]:
    client = boto3.client("eks", region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


def url_of(text: str) -> str:
    assert text.startswith(PREFIX)
    encoded = text.removeprefix(PREFIX)
    assert "=" not in encoded
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()


def signature_of(url: str, headers: dict[str, str]) -> str:
    """The signature (Version 4, in the query) as AWS's description of it says, written down once more."""
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "X-Amz-Signature"]
    named = dict(query)
    canonical = "\n".join(
        [
            "GET",
            parts.path,
            "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query)),
            *(f"{name}:{value}" for name, value in sorted(headers.items())),
            "",
            ";".join(sorted(headers)),
            hashlib.sha256(b"").hexdigest(),
        ]
    )
    _, scope = named["X-Amz-Credential"].split("/", 1)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", named["X-Amz-Date"], scope, digest])
    key = b"AWS4" + SECRET.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def test_the_token_is_a_request_that_sts_would_take(token: EksToken) -> None:
    """GetCallerIdentity at the region's STS, for a minute, in the way of aws-iam-authenticator."""
    parts = urlsplit(url_of(token.text()))
    query = dict(parse_qsl(parts.query))
    assert (parts.scheme, parts.netloc, parts.path) == ("https", f"sts.{REGION}.amazonaws.com", "/")
    assert query["Action"] == "GetCallerIdentity"
    assert query["Version"] == "2011-06-15"
    assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert query["X-Amz-Expires"] == "60"
    assert query["X-Amz-Security-Token"] == SESSION
    assert query["X-Amz-Credential"].startswith(f"{KEY_ID}/")
    assert query["X-Amz-Credential"].endswith(f"/{REGION}/sts/aws4_request")


def test_the_token_is_good_for_one_cluster_alone(token: EksToken) -> None:
    """The cluster's name is signed: with another one the signature would be another."""
    url = url_of(token.text())
    query = dict(parse_qsl(urlsplit(url).query))
    assert query["X-Amz-SignedHeaders"] == "host;x-k8s-aws-id"
    headers = {"host": f"sts.{REGION}.amazonaws.com", "x-k8s-aws-id": CLUSTER}
    assert query["X-Amz-Signature"] == signature_of(url, headers)
    assert query["X-Amz-Signature"] != signature_of(url, {**headers, "x-k8s-aws-id": "another"})


def test_china_has_its_own_names(session: boto3.Session, clock: FakeClock) -> None:
    """STS of the other partition."""
    token = EksToken(CLUSTER, "cn-north-1", presigned_by(session, "cn-north-1"), clock)
    assert urlsplit(url_of(token.text())).netloc == "sts.cn-north-1.amazonaws.com.cn"


class Signings:
    """Presigns by counting."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self, method: str, url: str, headers: dict[str, str], expires_s: int) -> str:
        self.made += 1
        return f"{url}&number={self.made}"


def test_the_token_is_renewed_before_it_ends(clock: FakeClock) -> None:
    """One serves for ten minutes of the fifteen that it lasts."""
    signings = Signings()
    token = EksToken(CLUSTER, REGION, signings, clock)
    first = token.text()
    clock.advance(599)
    assert token.text() == first
    clock.advance(1)
    second = token.text()
    assert second != first
    clock.advance(599)
    assert token.text() == second
    assert signings.made == 2


def test_without_credentials_there_is_no_token(clock: FakeClock) -> None:
    """It is told as what it is."""

    class Nobody:
        def get_credentials(self) -> None:
            return None

    with pytest.raises(Downstream, match="no AWS credentials"):
        EksToken(CLUSTER, REGION, presigned_by(Nobody(), REGION), clock).text()


def describes(eks: Stubber, **cluster: Any) -> None:
    eks.add_response("describe_cluster", {"cluster": {"name": CLUSTER, **cluster}}, {"name": CLUSTER})


def test_the_client_is_led_to_the_cluster(eks: Stubber, clock: FakeClock) -> None:
    """Address and certificate as EKS tells them, asked once; the token as it is at each request."""
    describes(
        eks,
        status="ACTIVE",
        endpoint="https://ABC.gr7.eu-central-1.eks.amazonaws.com",
        certificateAuthority={"data": base64.b64encode(CA.encode()).decode()},
    )
    signings = Signings()
    client = by_cluster_name(CLUSTER, eks.client, EksToken(CLUSTER, REGION, signings, clock))
    assert client.configuration.ca_cert_data == CA
    assert client.configuration.verify_ssl is True
    seen = []
    for _ in range(2):
        _, url, headers, _, _ = client.param_serialize("GET", "/version", auth_settings=["BearerToken"])
        assert url == "https://ABC.gr7.eu-central-1.eks.amazonaws.com/version"
        scheme, text = headers["authorization"].split(" ")
        assert scheme == "Bearer"
        seen.append(url_of(text)[-1])
        clock.advance(600)
    assert seen == ["1", "2"]


def test_a_cluster_that_is_being_made(eks: Stubber, clock: FakeClock) -> None:
    """It has no address yet; later it will."""
    describes(eks, status="CREATING")
    with pytest.raises(Unavailable, match="CREATING"):
        by_cluster_name(CLUSTER, eks.client, EksToken(CLUSTER, REGION, Signings(), clock))


def test_a_cluster_that_nobody_knows(eks: Stubber, clock: FakeClock) -> None:
    """EKS's own words are told."""
    eks.add_client_error("describe_cluster", "ResourceNotFoundException", "No cluster found for name: workflows.")
    with pytest.raises(Downstream, match="No cluster found"):
        by_cluster_name(CLUSTER, eks.client, EksToken(CLUSTER, REGION, Signings(), clock))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ReadTimeoutError(endpoint_url="https://eks"), DownstreamTimeout),
        (EndpointConnectionError(endpoint_url="https://eks"), Downstream),
    ],
    ids=["slow", "unreachable"],
)
def test_eks_out_of_order(clock: FakeClock, error: Exception, kind: type[Exception]) -> None:
    """The SDK's errors are ours."""

    class Broken:
        def describe_cluster(self, **_: Any) -> None:
            raise error

    with pytest.raises(kind) as caught:
        by_cluster_name(CLUSTER, Broken(), EksToken(CLUSTER, REGION, Signings(), clock))
    assert type(caught.value) is kind
