"""Files of sequences → tables of embeddings: a single table, or a folder of parts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phylocli import models
from phylocli.config.embed import EmbedConfig, Shard
from phylocli.core import console
from phylocli.core.errors import UsageError
from phylocli.core.processes import WorkerPool
from phylocli.core.threads import limit_threads
from phylocli.core.words import counted
from phylocli.embed.disk_space import check_space, forecast
from phylocli.embed.embedder import untrained as random_weights
from phylocli.embed.embedder import with_pooling
from phylocli.embed.families import read_all_families, survey_families
from phylocli.embed.inputs import Sources, Survey, expand, survey
from phylocli.embed.parts import SHARD_SIZE, open_folder, write_parts
from phylocli.embed.throughput import Meter
from phylocli.embed.to_table import Tabulator
from phylocli.formats import read_sequences
from phylocli.formats.provenance import provenance, write_sidecar
from phylocli.formats.sequences.fasta import OnDuplicate
from phylocli.formats.streams import STDIO, PathLike, is_file, is_url, locks, note_input, write_text
from phylocli.formats.streams.remote import join, listing
from phylocli.formats.tables import EMBEDDINGS, RECORDING, TableFormat, TableWriter, format_of, has_format
from phylocli.formats.tables.parts import is_part
from phylocli.models.device import choose_device
from phylocli.models.model import Model

logger = logging.getLogger(__name__)


def embed_file(
    source: Sources,
    output: PathLike | None,
    config: EmbedConfig | None = None,
    *,
    model: PathLike | Model | None = None,
    format: TableFormat | None = None,
    **options: Any,
) -> int:
    """Embed the sequences of files or a pipe and write them as a table; return their number.

    Files are scanned first: errors in them, and an output that does not fit on the disk, are found before the work begins.

    Args:
        source: files of sequences in any format of `read_sequences`; `-`/None is standard input. Several are read as one;
            patterns (`*.faa`) are replaced by the matching files.
        output: path of the table, with its format by suffix; `-`/None is standard output (TSV unless `format` is given). A
            folder (existing, or written with a slash at its end, or with `shard` or `shard_size`) gets Parquet parts and a
            manifest; existing complete parts are kept.
        config: options; may also be given as keywords.
        model: name or folder of a model, a model of the Hugging Face hub (`phylocli.models.find`), a `Model`, or None for
            `default`.
        format: see `TableFormat`; None takes it from the suffix.
        **options: fields of `EmbedConfig`.

    Raises:
        UsageError: an unknown model, layer, pooling or device; a folder with other settings.
        BadInputError: no sequences, invalid letters, duplicate ids, a damaged model; a folder of another input.
        InUseError: another process computes the same shard of the folder.
        PhylocliError: the output would not fit on the disk.

    Examples:
        >>> phylocli.embed_file("examples/globins.fasta", "globins.parquet")
        45
    """
    config = EmbedConfig.of(config, options)
    import torch

    limit_threads(config.threads)
    folder = _folder(output, parts=config.shard is not None or config.shard_size > 0)
    if folder is None:
        config = config.undivided(
            UsageError(
                "several workers can only share the parts of a folder", fix="give -o FOLDER/, or omit --jobs and --cluster"
            )
        )
    if folder is not None and format not in (None, "parquet"):
        raise UsageError("a folder contains Parquet parts", fix="omit --format, or name one file with -o")
    if folder is None:
        format = format or format_of(output, known=EMBEDDINGS)
        if config.per_family and format not in RECORDING:
            logger.warning(
                "only Parquet and Arrow record that rows are families: E-values of a search of this table will be too small"
            )
    places = [choose_device(name) for name in _devices(config.device, several=folder is not None)]
    named = "given" if isinstance(model, Model) else str(model if model is not None else models.DEFAULT)
    loaded = model if isinstance(model, Model) else models.load(model)
    if config.untrained is not None:
        loaded = random_weights(loaded, config.untrained)
    loaded = with_pooling(loaded, config.pooling)
    if config.precision == "bf16":
        loaded = loaded.sharing()  # a `Model` of the caller stays as it is
        loaded.precision = torch.bfloat16
    if config.translate and loaded.alphabet != "protein":
        raise UsageError("--translate gives proteins, and the model is one of nucleotides", fix="leave out --translate")
    sources = expand(source)
    if config.per_family:
        _check_families(config, folder)
    known = (
        survey_families(sources, on_duplicate=config.on_duplicate, letters=loaded.alphabet)
        if config.per_family
        else survey(sources, on_duplicate=config.on_duplicate, letters=loaded.alphabet, genetic_code=config.code)
    )
    maker = Tabulator(
        loaded.to(places[0]),
        config.layer,
        config.per_residue,
        config.half,
        config.max_tokens,
        config.untrained,
        config.per_family,
    )
    parameters = {
        **config.to_parameters(),
        "model": named,
        "source": loaded.source,
        "fingerprint": loaded.fingerprint,
        "pooling": loaded.config.pooling,
        "device": ",".join(map(str, places)),
    }
    if config.compile:
        loaded.encoder.compile(dynamic=True)
    if folder is None:
        assert format is not None
        return _one_table(sources, output, maker, known, config.on_duplicate, format, config.code, parameters)
    if len(places) > 1:
        config = config.undivided(
            UsageError("--jobs and --cluster are for one kind of device", fix="name one device, or leave them out")
        )
    job = _Job(
        sources,
        folder,
        config.on_duplicate,
        config.shard_size or SHARD_SIZE[config.per_residue],
        config.code,
        config.jobs,
        config.cluster,
        config.threads or config.threads_each,
    )
    part = config.shard or Shard()
    # Object storage has no locks; two runs of a shard would write the same bytes.
    lock = f".shard-{part.index + 1}-of-{part.count}.lock"
    with contextlib.nullcontext() if is_url(folder) else locks.exclusive(folder, lock):
        return _many_parts(job, maker, known, part, list(map(str, places)), parameters)


def _check_families(config: EmbedConfig, folder: PathLike | None) -> None:
    """Raise a UsageError if options do not fit one row per family."""
    if folder is not None:
        raise UsageError("embeddings of families are a single table", fix="name a file, as in -o emb.parquet")
    if config.translate:
        raise UsageError("--translate is for sequences, not for families", fix="translate with 'phylocli align' first")


def _folder(output: PathLike | None, *, parts: bool) -> PathLike | None:
    """Return the folder named as output, or None for a single table."""
    text = STDIO if output is None else os.fspath(output)
    if is_url(text):
        return text.rstrip("/") if text.endswith("/") or (parts and not has_format(text)) else None
    if text.endswith(("/", os.sep)) or (text != STDIO and Path(text).is_dir()):
        return Path(text)
    if not parts:
        return None
    if text == STDIO or has_format(text):
        raise UsageError("shards are parts of a folder, and the output is not a folder", fix="give -o FOLDER")
    return Path(text)


def _devices(text: str, *, several: bool) -> list[str]:
    """Return the devices to use: those named, or all GPUs if `auto` may use several."""
    import torch

    named = [part.strip() for part in text.split(",")]
    if named == ["auto"] and torch.cuda.device_count() > 1:
        if several:
            return [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        logger.info("using one GPU; several can share the work if the output is a folder (-o FOLDER)")
    if len(named) > 1 and not several:
        raise UsageError("several devices can only share the parts of a folder", fix="give -o FOLDER")
    return named


def _one_table(
    sources: list[PathLike | None],
    output: PathLike | None,
    maker: Tabulator,
    known: Survey | None,
    on_duplicate: OnDuplicate,
    format: TableFormat,
    genetic_code: int | None,
    parameters: Mapping[str, object],
) -> int:
    """Write a single table; return the number of sequences."""
    if known is not None and output is not None and is_file(output):
        check_space(output, _forecast(known, maker, format))
    with Meter(known) as meter, TableWriter(output, maker.schema(), format) as writer:
        if maker.per_family:
            families = read_all_families(
                sources, on_duplicate=on_duplicate, letters=maker.model.alphabet, report=known is None
            )
            tables = maker.family_tables(families, meter.computed)
        else:
            sequences = read_sequences(
                sources,
                on_duplicate=on_duplicate,
                letters=maker.model.alphabet,
                report=known is None,
                genetic_code=genetic_code,
            )
            tables = maker.tables(sequences, meter.computed)
        for table, count, residues in tables:
            writer.write(table)
            meter.done(count, residues)
    write_sidecar(output, "embed", parameters, maker.untrained)
    if is_file(output) or is_url(output):
        _say_done(meter, maker, output)
    return meter.sequences


def _forecast(known: Survey, maker: Tabulator, format: TableFormat) -> int:
    return forecast(known, maker.dimension, half=maker.half, per_residue=maker.per_residue, format=format)


def _say_done(meter: Meter, maker: Tabulator, output: PathLike | None) -> None:
    speed = f"{meter.residues:,} residues in {console.duration(meter.seconds)}"
    noun = "family" if maker.per_family else "sequence"
    logger.info(f"{counted(meter.sequences, noun)}, {maker.dimension} features each, {speed}: {output}")


@dataclass(frozen=True)
class _Job:
    """The common work of all processes of a folder."""

    sources: list[PathLike | None]
    folder: PathLike
    on_duplicate: OnDuplicate
    size: int
    genetic_code: int | None
    jobs: int = 1
    cluster: str | None = None
    threads: int = 1

    def run(self, maker: Tabulator, shard: Shard, known: Survey | None, label: str = "") -> tuple[int, Meter]:
        """Compute a shard's missing parts; return their number, and the measurements."""
        sequences = read_sequences(
            self.sources,
            on_duplicate=self.on_duplicate,
            letters=maker.model.alphabet,
            report=known is None,
            genetic_code=self.genetic_code,
        )
        with Meter(known, label) as meter:
            checksum = known.checksum if known is not None else ""
            computed, _ = write_parts(
                sequences,
                self.folder,
                maker,
                shard=shard,
                size=self.size,
                meter=meter,
                checksum=checksum,
                jobs=self.jobs,
                cluster=self.cluster,
                threads=self.threads,
            )
        return computed, meter


def _work(job: _Job, maker: Tabulator, shard: Shard, known: Survey | None, device: str, threads: int) -> int:
    """Compute a shard in a separate process."""
    limit_threads(threads)
    maker.model.to(choose_device(device))
    return job.run(maker, shard, known, device)[0]


def _many_parts(
    job: _Job, maker: Tabulator, known: Survey | None, shard: Shard, places: list[str], parameters: Mapping[str, object]
) -> int:
    """Write the parts of a shard with one process per device; return the number of sequences of the whole input."""
    import torch

    if known is not None and not is_url(job.folder):
        there = sum(size for name, size in listing(job.folder).items() if is_part(name))
        check_space(job.folder, max(0, _forecast(known, maker, "parquet") // shard.count - there))
    if len(places) == 1:
        computed, meter = job.run(maker, shard, known)
        count = meter.sequences
        _say_done(meter, maker, job.folder)
    else:
        if known is None:
            raise UsageError("a pipe or URL cannot be shared among devices", fix="name files, or one device")
        open_folder(job.folder, maker, job.size, known.checksum)
        maker.model.to("cpu")
        threads = max(1, torch.get_num_threads() // len(places))
        with WorkerPool(len(places), fix="use fewer devices, or a smaller --max-tokens") as pool:
            parts = zip(shard.split(len(places)), places, strict=True)
            running = [pool.submit(_work, job, maker, piece, known, place, threads) for piece, place in parts]
            computed = sum(future.result() for future in running)
        for source in job.sources:
            note_input(str(source))
        count = known.sequences
    logger.info(f"{computed} parts computed: {job.folder}")
    record = provenance("embed", {**parameters, "shard": str(shard), "shard_size": job.size}, maker.untrained)
    name = f"provenance-{shard.index + 1}-of-{shard.count}.json"
    write_text(join(job.folder, name), json.dumps(record, indent=2, default=str) + "\n")
    return count
