"""How direct reads are addressed and signed: never by an address that works for whoever reads it."""

import re
from pathlib import Path

import boto3
import pytest

from instance.object_reads import DirectReader, Wanted

REPOSITORY = Path(__file__).parents[2]
CODE = ("app.py", "cli", "contracts", "infra", "instance", "lambdas", "local", "scripts", "statemachine")
PART = Wanted(key="datasets/ä b+1/../x~y.csv", etag="e", size=100, first=10, length=20)
WHOLE = Wanted(key="datasets/a", etag="e", size=100, first=0, length=100)


def reader(bucket: str = "bucket", **options: str) -> DirectReader:
    credentials = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret", "aws_session_token": "token"}
    return DirectReader(boto3.client("s3", region_name="eu-west-1", **credentials, **options), bucket)


def test_no_presigned_address_is_made_anywhere() -> None:
    sources = [p for name in CODE for p in (REPOSITORY / name).rglob("*") if p.suffix in (".py", ".sh", ".json")]
    sources.append(REPOSITORY / "app.py")
    maker = re.compile(r"generate_presigned|SigV4QueryAuth|X-Amz-Signature|\bs3 presign", re.IGNORECASE)
    found = [str(p.relative_to(REPOSITORY)) for p in sources if maker.search(p.read_text())]
    assert len(sources) > 100
    assert found == []


@pytest.mark.parametrize("wanted", [PART, WHOLE])
def test_the_signature_is_in_a_header_and_covers_what_is_asked_for(wanted: Wanted) -> None:
    request = reader()._signed(wanted)
    signed = re.search(r"SignedHeaders=([^,]+)", request.headers["Authorization"])
    assert "?" not in request.url
    assert signed is not None
    asked = "x-amz-checksum-mode" if wanted.whole else "range"
    assert {"host", "if-match", "x-amz-security-token", asked} <= set(signed[1].split(";"))
    assert "secret" not in str(request.headers)


@pytest.mark.parametrize(
    ("bucket", "options", "address"),
    [
        ("bucket", {}, "https://bucket.s3.eu-west-1.amazonaws.com/"),
        ("with.dots", {}, "https://s3.eu-west-1.amazonaws.com/with.dots/"),
        ("bucket", {"endpoint_url": "http://127.0.0.1:4566"}, "http://127.0.0.1:4566/bucket/"),
    ],
)
def test_a_bucket_is_asked_at_its_own_region(bucket: str, options: dict[str, str], address: str) -> None:
    assert reader(bucket, **options)._signed(PART).url == address + "datasets/%C3%A4%20b%2B1/../x~y.csv"
