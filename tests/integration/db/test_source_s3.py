"""Files in an object store, as a source: read over HTTP from a server that speaks S3 (moto's), with what the operator says and no more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

pytest.importorskip("s3fs", reason="pip install s3fs")
pytest.importorskip("moto.server", reason="pip install 'moto[s3]' flask-cors")

import boto3
from moto.server import ThreadedMotoServer

from db.errors import SourceUnavailable, SourceUnreadable
from db.sources.catalogue import read
from db.sources.configs import FilesConfig
from db.sources.files import FilesSource
from db.sources.source import Limits, Whom

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = {"key": "AKIAIOSFODNN7EXAMPLE", "secret": "hidden"}


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    """Its address; one bucket is there."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client(url := f"http://{host}:{port}").create_bucket(Bucket="plants")
    yield url
    server.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def client(url: str) -> Any:
    return boto3.client("s3", "us-east-1", endpoint_url=url, aws_access_key_id="k", aws_secret_access_key="s")


def pour(url: str, name: str, rows: int) -> None:
    lines = "".join(f"{START + timedelta(hours=n):%Y-%m-%dT%H:%M:%SZ},{n}\n" for n in range(rows))
    client(url).put_object(Bucket="plants", Key=f"2026/{name}.csv", Body=f"time,P\n{lines}".encode())


def lake(url: str, bucket: str = "plants", storage: dict[str, Any] | None = None) -> FilesSource:
    told = {"endpoint_url": url, **(KEYS if storage is None else storage)}
    toml = ", ".join(f"{name} = {json.dumps(value)}" for name, value in told.items())
    head = f'[sources.lake]\nkind = "files"\npath = "s3://{bucket}/2026/{{entity}}.csv"\nat = "time"\ntenants = ["*"]\nchannels = ["P"]\n'
    config = read(f"{head}storage = {{ {toml} }}\n")["lake"]
    assert isinstance(config, FilesConfig)
    assert "hidden" not in repr(config)
    return FilesSource(config, Limits(1_000, 2.0))


def counted(source: FilesSource, entity: str = "roof") -> int:
    return len(source.fetch(Whom(entity), ["P"])["P"][0])


def test_objects_are_read_as_they_are_now(store: str) -> None:
    """Also after they were listed: a list that is kept would tell the sizes of before."""
    pour(store, "roof", 5)
    there = lake(store)
    assert (counted(there), there.entities("", 9)) == (5, ["roof"])
    pour(store, "roof", 50)
    pour(store, "a/b".replace("/", "%2F"), 3)
    assert (counted(there), counted(there, "a/b"), there.entities("", 9)) == (50, 3, ["a/b", "roof"])
    client(store).delete_object(Bucket="plants", Key="2026/roof.csv")
    assert (counted(there), there.coverage(Whom("roof"))) == (0, {}), "gone is no row, and says where it was looked for"
    assert there.sought(Whom("roof")) == "file s3://plants/2026/roof.csv, time from the beginning"


def test_a_bucket_that_is_not_there_has_to_be_mended(store: str) -> None:
    with pytest.raises(SourceUnreadable, match="has no folder s3://nowhere/2026"):
        lake(store, "nowhere").health()
    pour(store, "roof", 1)
    assert lake(store).health().lag_s is None


@pytest.mark.slow  # the client's own patience with what is away
def test_a_store_that_denies_is_told_apart_from_one_that_is_away(store: str) -> None:
    pour(store, "roof", 5)
    assert httpx.post(f"{store}/moto-api/reset-auth", content=b"0").status_code == 200, "from here on keys are looked at"
    try:
        for read_it in (counted, FilesSource.health):
            with pytest.raises(SourceUnreadable, match="may not be read"):
                read_it(lake(store))
    finally:
        httpx.post(f"{store}/moto-api/reset-auth", content=b"Infinity")
    with pytest.raises(SourceUnavailable):
        counted(lake("http://127.0.0.1:9"))


def test_without_keys_it_says_so(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nowhere")
    with pytest.raises(SourceUnreadable, match="credentials"):
        counted(lake(store, storage={}))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    pour(store, "roof", 4)
    assert counted(lake(store, storage={"use_ssl": False})) == 4, "the workers' environment may hold them"
