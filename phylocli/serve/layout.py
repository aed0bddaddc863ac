"""The map of the page: points placed once, in the background, and kept in the user's cache."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phylocli.config.serve import ServeConfig
from phylocli.core import console
from phylocli.core.errors import PhylocliError
from phylocli.core.processes import WorkerPool
from phylocli.core.words import counted
from phylocli.formats.arrays import read_arrays, write_arrays
from phylocli.formats.embeddings import EmbeddingTable
from phylocli.formats.streams import cache_folder
from phylocli.probe.map.coordinates import FEW, METHOD_NAMES, place_points, resolve_method
from phylocli.probe.map.page import MapPage, render_map
from phylocli.serve.proteins import Proteins
from phylocli.statistics.sampling import subsample

logger = logging.getLogger(__name__)

SMALL = 10_000
"""Below this number of points principal components are computed by the server itself."""

Placed = tuple[npt.NDArray[np.float64] | None, str]


class MapInBackground:
    """Places the proteins of a table in two dimensions, while the page is already served.

    UMAP and t-SNE hold Python's global lock for seconds at a time, so more than a few points are placed by a process of
    their own, which ends with this one. They also take minutes for many points, so principal components come first.

    Args:
        table: of embeddings.
        proteins: its rows.
        config: options of the map.
    """

    def __init__(self, table: EmbeddingTable, proteins: Proteins, config: ServeConfig) -> None:
        self._table, self._proteins, self._config = table, proteins, config
        self._rows = subsample(np.arange(len(table)), config.limit, config.seed)
        self._method = resolve_method(config.projection, len(self._rows))
        self._page: str | None = None
        self._version, self._is_final = 0, False
        self._failure = "" if len(table) >= 3 else "a map needs at least three proteins"
        self._pool: WorkerPool | None = None
        self._closed = False
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="map", daemon=True)

    def start(self) -> None:
        """Begin."""
        if not self._failure:
            self._thread.start()

    def close(self) -> None:
        """Stop placing points."""
        self._closed = True
        if self._pool is not None:
            self._pool.end()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    @property
    def page(self) -> str | None:
        """The page of the map; None until it is there."""
        return self._page

    def status(self) -> dict[str, str | int]:
        """Return the state (`ready`, `failed`, `working`), a message for the user, and a number that each new map raises."""
        if self._is_final:
            return {"state": "ready", "message": "", "version": self._version}
        if self._failure:
            return {"state": "failed", "message": f"No map: {self._failure}.", "version": self._version}
        so_far = console.duration(time.monotonic() - self._started)
        message = f"Placing {counted(len(self._rows), 'protein')} by {METHOD_NAMES[self._method]}: {so_far} so far. "
        message += "Until then, principal components." if self._version else "Searches work meanwhile."
        return {"state": "working", "message": message, "version": self._version}

    def _run(self) -> None:
        try:
            points, caption = self._placed()
            if points is None:
                self._failure = caption
                return
            self._publish(points, caption)
            self._is_final = True
            logger.info(f"the map is ready: {counted(len(self._rows), 'point')}")
        except (BrokenProcessPool, CancelledError):
            self._failure = "the process that placed the points was ended"
        except (PhylocliError, OSError, MemoryError) as error:
            self._failure = str(error).splitlines()[0] if str(error) else type(error).__name__
        if self._failure and not self._closed:
            logger.warning(f"no map: {self._failure}")

    def _publish(self, points: npt.NDArray[np.float64], caption: str) -> None:
        """Make the page of a map."""
        ids, labels = self._proteins.ids, self._proteins.labels
        page = MapPage.of(
            [ids[row] for row in self._rows],
            points,
            None if labels is None else labels.take(self._rows),
            title=self._config.title or self._table.title,
            source=Path(self._table.name).name,
            dimension=self._table.dimension,
            total=len(ids),
            method=caption,
            seed=self._config.seed,
        )
        self._page = render_map(page, embedded=True)
        self._version += 1

    def _placed(self) -> Placed:
        """Return the points from the cache, or place them and keep them there."""
        whole = self._table.vectors is not None and len(self._rows) == len(self._table)
        vectors = self._table.numpy() if whole else self._table.take(self._rows)
        identity = self._identity(vectors)
        path = cache_folder() / "maps" / f"{identity[:32]}.safetensors"
        try:
            arrays, metadata = read_arrays(path, fix="remove it")
            return arrays["points"].astype(np.float64), metadata["caption"]
        except (OSError, PhylocliError, KeyError) as error:
            logger.debug(f"{path}: {error}")
        small = len(vectors) < (SMALL if self._method == "pca" else FEW)
        place = place_points if small else self._placed_by_a_process
        points, caption = place(vectors, self._method, self._config.seed)
        if points is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_arrays(path, {"points": points.astype(np.float32)}, {"caption": caption})
            except (OSError, PhylocliError) as error:
                logger.info(f"the map is not kept: {error}")
        return points, caption

    def _identity(self, vectors: npt.NDArray[np.float32]) -> str:
        """Return a checksum of all that the points depend on."""
        library = version("umap-learn" if self._method == "umap" else "scikit-learn")
        found = hashlib.blake2b(f"{self._method} {library} {self._config.seed} {vectors.shape}".encode(), digest_size=20)
        found.update(np.ascontiguousarray(vectors).data)
        return found.hexdigest()

    def _placed_by_a_process(self, vectors: npt.NDArray[np.float32], method: str, seed: int) -> Placed:
        with tempfile.TemporaryDirectory(prefix="phylocli-") as folder:
            path = Path(folder) / "vectors.npy"
            np.save(path, vectors)
            with (
                console.progress_task(f"placing {len(vectors):,} points by {METHOD_NAMES[method]}"),
                WorkerPool(1, level=console.QUIET, grace=0, fix="use a smaller --limit") as self._pool,
            ):
                if self._closed:
                    raise CancelledError
                if method != "pca":
                    points, caption = self._pool.submit(_place, path, "pca", seed).result()
                    if points is not None:
                        self._publish(points, caption)
                return self._pool.submit(_place, path, method, seed).result()


def _place(path: Path, method: str, seed: int) -> Placed:
    return place_points(np.load(path), method, seed)
