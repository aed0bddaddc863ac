"""Sequences from S3 and web servers, tables to S3: a loopback server of moto, and one of the standard library."""

from __future__ import annotations

import functools
import gzip
import http.server
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import s3fs
from click.testing import Result
from moto.server import ThreadedMotoServer

from phylocli.core.errors import BadInputError, MissingDependencyError, ServiceError, UsageError
from phylocli.embed import embed_file
from phylocli.formats.embeddings import read_embeddings
from phylocli.formats.streams import open_input
from phylocli.models.model import Model

BUCKET = "proteins"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Model.create("convolutional", preset="tiny", seed=3).save(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(address: str, examples: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of an S3 that has a bucket with the globins."""
    names = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**names, "AWS_ENDPOINT_URL": address}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=address)
    client.create_bucket(Bucket=BUCKET)
    client.put_object(
        Bucket=BUCKET, Key="in/globins.fasta.gz", Body=gzip.compress((examples / "globins.fasta").read_bytes())
    )
    s3fs.S3FileSystem.clear_instance_cache()
    yield client
    for key in objects(client):
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)


def objects(s3: Any, prefix: str = "") -> dict[str, bytes]:
    """Return the objects of the bucket whose key starts with a prefix, which is left out."""
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
    keys = [item["Key"] for item in found]
    return {key.removeprefix(prefix): s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def parts(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if name.startswith("part-")}


@pytest.mark.parametrize("jobs", [1, 2])
def test_parts_in_s3_have_the_bytes_of_those_on_disk(
    s3: Any, model: Path, examples: Path, tmp_path: Path, jobs: int
) -> None:
    options: dict[str, Any] = {"model": model, "shard_size": 10, "threads": 1, "device": "cpu"}
    embed_file(examples / "globins.fasta", tmp_path / "disk", **options)
    count = embed_file("s3://proteins/in/globins.fasta.gz", "s3://proteins/out/", jobs=jobs, **options)
    found = objects(s3, "out/")
    assert count == 45
    assert parts(found) == {path.name: path.read_bytes() for path in (tmp_path / "disk").glob("part-*")}
    assert sorted(found.keys() - parts(found).keys()) == ["manifest.json", "provenance-1-of-1.json"]
    assert found["manifest.json"] == (tmp_path / "disk" / "manifest.json").read_bytes()


def test_run_into_s3_continues_with_missing_and_damaged_parts(s3: Any, model: Path) -> None:
    run = functools.partial(embed_file, "s3://proteins/in/*.gz", "s3://proteins/out/", model=model, shard_size=10, threads=1)
    run()
    whole = objects(s3, "out/")
    s3.delete_object(Bucket=BUCKET, Key="out/part-000001.parquet")
    s3.put_object(Bucket=BUCKET, Key="out/part-000003.parquet", Body=b"PAR1 cut off")
    # A mark that the bytes do not have: it is lost if the object is written again.
    kept = {"Bucket": BUCKET, "Key": "out/part-000000.parquet"}
    s3.copy_object(**kept, CopySource=kept, Metadata={"mark": "kept"}, MetadataDirective="REPLACE")
    run()
    assert parts(objects(s3, "out/")) == parts(whole)
    assert s3.head_object(**kept)["Metadata"] == {"mark": "kept"}


def test_folder_in_s3_keeps_to_its_input_and_its_settings(s3: Any, model: Path, examples: Path) -> None:
    run = functools.partial(embed_file, output="s3://proteins/out/", model=model, shard_size=10)
    run("s3://proteins/in/globins.fasta.gz")
    whole = objects(s3, "out/")
    with pytest.raises(BadInputError, match="belongs to another input"):
        run(examples / "families.sto")
    with pytest.raises(UsageError, match="contains embeddings with other settings"):
        run("s3://proteins/in/globins.fasta.gz", half=True)
    with pytest.raises(UsageError, match="something other than a table in parts"):
        embed_file(examples / "globins.fasta", "s3://proteins/in/", model=model)
    assert objects(s3, "out/") == whole


def test_one_table_goes_to_s3_when_it_is_complete(
    s3: Any, cli: Callable[..., Result], model: Path, examples: Path, tmp_path: Path
) -> None:
    result = cli("embed", examples / "globins.fasta", "-m", model, "-o", "s3://proteins/emb.tsv.gz", "--threads", 1)
    assert result.exit_code == 0, result.output
    cli("embed", examples / "globins.fasta", "-m", model, "-o", tmp_path / "emb.tsv", "--threads", 1)
    found = objects(s3, "emb")
    assert gzip.decompress(found[".tsv.gz"]) == (tmp_path / "emb.tsv").read_bytes()
    assert b'"name": "emb.tsv.gz"' in found[".tsv.gz.provenance.json"]
    (tmp_path / "bad.fasta").write_text(">a\nMKV\n>b\nMK1\n")
    assert cli("embed", tmp_path / "bad.fasta", "-m", model, "-o", "s3://proteins/bad.tsv").exit_code == 65
    assert not objects(s3, "bad")
    with pytest.raises(BadInputError, match="tables of embeddings are read from files"):
        read_embeddings("s3://proteins/emb.tsv.gz")


def test_what_is_missing_or_not_reached_is_named_with_a_way_out(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(BadInputError, match=r"s3://proteins/none\.fasta: there is no such object"),
        open_input("s3://proteins/none.fasta"),
    ):
        pass
    with pytest.raises(BadInputError, match=r"ftq://x/y: unknown kind of URL"), open_input("ftq://x/y"):
        pass
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    s3fs.S3FileSystem.clear_instance_cache()
    with (
        pytest.raises(ServiceError, match=r"s3://proteins/in/globins.* cannot be read"),
        open_input("s3://proteins/in/globins.fasta.gz"),
    ):
        pass
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(MissingDependencyError) as caught, open_input("s3://proteins/in/globins.fasta.gz"):
        pass
    assert caught.value.fix == "pip install 'phylocli[cloud]'"


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves files, without a log."""

    def log_message(self, format: str, *args: object) -> None: ...


def test_sequences_of_a_web_server_are_read_as_those_of_a_file(model: Path, examples: Path, tmp_path: Path) -> None:
    handler = functools.partial(Silent, directory=str(examples))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert embed_file(f"{base}/globins.fasta?version=1", tmp_path / "web.tsv", model=model, threads=1) == 45
        with pytest.raises(BadInputError, match="there is no such object"):
            embed_file(f"{base}/none.fasta", tmp_path / "none.tsv", model=model)
        server.shutdown()
    embed_file(examples / "globins.fasta", tmp_path / "file.tsv", model=model, threads=1)
    assert (tmp_path / "web.tsv").read_bytes() == (tmp_path / "file.tsv").read_bytes()
    assert not (tmp_path / "none.tsv").exists()
