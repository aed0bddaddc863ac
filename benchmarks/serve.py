"""How long the local page of `phylocli serve` takes for a table of random vectors: start, searches, and its map.

python benchmarks/serve.py [ROWS [PROJECTION]]

By default 100,000 rows of 1,024 features in 300 clusters, and PCA; `umap` takes minutes. Docs: docs/serve.md.
"""

from __future__ import annotations

import http.client
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import polars as pl

import phylocli
from phylocli.formats.tables import TableWriter, embeddings_schema

DIMENSION, CLUSTERS, BLOCK = 1024, 300, 10_000


def write_table(path: Path, rows: int) -> None:
    """Write vectors around the centres of clusters."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLUSTERS, DIMENSION)).astype(np.float32)
    schema = embeddings_schema(DIMENSION, metadata=phylocli.load_model("default").metadata)
    with TableWriter(path, schema, "parquet") as writer:
        for start in range(0, rows, BLOCK):
            count = min(BLOCK, rows - start)
            vectors = centres[rng.integers(CLUSTERS, size=count)] + rng.normal(size=(count, DIMENSION)).astype(np.float32)
            ids = [f"P{number:07d}" for number in range(start, start + count)]
            columns = {"id": ids, "length": pl.Series([300] * count, dtype=pl.Int32)}
            writer.write(pl.DataFrame({**columns, "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float32, DIMENSION))}))


def ask(server: phylocli.ProteinServer, path: str, body: dict[str, Any] | None = None) -> Any:
    """Return the answer to a request, and print how long it took."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    headers = {"X-Phylocli-Token": server.token, "Content-Type": "application/json"}
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def timed(what: str, server: phylocli.ProteinServer, path: str, body: dict[str, Any] | None = None) -> None:
    """Print the median time of five equal requests."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        ask(server, path, body)
        times.append(time.perf_counter() - start)
    print(f"{what}: {np.median(times):.3f} s")


def main() -> None:
    """Write a table, serve it, and print times and the largest memory."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    projection = sys.argv[2] if len(sys.argv) > 2 else "pca"
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.parquet"
        write_table(table, rows)
        start = time.perf_counter()
        with phylocli.serve(table, projection=projection, seed=time.time_ns() % 2**32, open=False) as server:
            print(f"{rows:,} rows of {DIMENSION:,} features; start: {time.perf_counter() - start:.1f} s")
            while ask(server, "/api/status")["state"] == "working":
                time.sleep(1)
            print(f"map by {projection}: {time.perf_counter() - start:.0f} s after the start")
            timed("protein by a part of its id", server, f"/api/find?text={quote('P00012')}")
            timed("neighbours of a protein", server, "/api/search", {"protein": "P0000123"})
            timed("hits of a sequence of 150 residues", server, "/api/search", {"sequences": "MKTAYIAKQRQISFV" * 10})
    print(f"largest memory of the server: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB")


if __name__ == "__main__":
    main()
