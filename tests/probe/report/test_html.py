"""The whole run on real families: its files agree, its page is self-contained, and names from outside are inert."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_families
from phylocli.formats.tables import metrics_schema
from phylocli.probe import Embedding, Metrics, probe, run_probes
from phylocli.probe.inputs.residue_vectors import OneHot
from phylocli.probe.report import plots
from phylocli.probe.report.numbers import number
from phylocli.probe.report.plots import PALETTE

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "=cmd|'/c calc'!A1",
    "</style><b>",
    "{{ 7*7 }}",
    "javascript:x",
]


@pytest.fixture(scope="module")
def members(examples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels with sequences of three real families, thirty members each."""
    rows = ["id\tfamily\tsequence\n"]
    for family in list(read_families(examples / "families.sto"))[:3]:
        rows += [f"{s.id}\t{family.label}\t{s.residues}\n" for s in family.sequences()[:30]]
    path = tmp_path_factory.mktemp("probe") / "labels.tsv"
    path.write_text("".join(rows))
    return path


def random_embedding(labels: Path, seed: int, name: str = "random") -> Embedding:
    ids = pl.read_csv(labels, separator="\t")["id"].to_list()
    return Embedding(name, ids, np.random.default_rng(seed).normal(size=(len(ids), 8)).astype(np.float32), source=name)


@pytest.fixture(scope="module")
def report(members: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "report"
    run_probes([random_embedding(members, 0)], members, output, replicates=200, projection="pca")
    return output


def test_the_three_files_say_the_same(report: Path) -> None:
    written = ["metrics.parquet", "provenance.json", "report.html", "report.json", "report.md"]
    assert sorted(p.name for p in report.iterdir()) == written
    frame = pl.read_parquet(report / "metrics.parquet")
    assert frame.columns == metrics_schema().names
    assert frame.to_dicts() == json.loads((report / "report.json").read_text())["metrics"]
    assert Metrics.read(report).to_html() == (report / "report.html").read_text()


def test_every_figure_has_an_interval_around_it(report: Path) -> None:
    frame = pl.read_parquet(report / "metrics.parquet").filter(pl.col("embedding") != "chance")
    assert (
        frame["low"].null_count() == 0 and (frame["low"] <= frame["value"]).all() and (frame["value"] <= frame["high"]).all()
    )
    assert (frame["n"] > 0).all()


def test_real_composition_beats_noise_on_real_families(report: Path) -> None:
    content = json.loads((report / "report.json").read_text())
    found = {(d["other"], d["metric"]): d for d in content["differences"] if d["task"] == "retrieval"}
    ahead = found["composition", "top-1 accuracy"]
    assert ahead["difference"] < -0.3 and ahead["p_holm"] < 0.001
    assert "worse in" in (report / "report.html").read_text()


def test_the_same_input_and_seed_give_the_same_bytes(members: Path, report: Path, tmp_path: Path) -> None:
    run_probes([random_embedding(members, 0)], members, tmp_path / "again", replicates=200, projection="pca")
    for name in ("metrics.parquet", "report.json", "report.html"):
        assert (tmp_path / "again" / name).read_bytes() == (report / name).read_bytes()


class _Audit(HTMLParser):
    """Collects what could load or run anything."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"] or ""


def audited(page: str) -> _Audit:
    audit = _Audit()
    audit.feed(page)
    return audit


def assert_inert(page: str) -> None:
    audit = audited(page)
    assert not audit.tags & {"script", "img", "iframe", "link", "object", "embed", "a", "form", "b onerror"}
    for tag, name, value in audit.attributes:
        assert not name.startswith("on") and name not in ("src", "xlink:href", "style", "action"), (tag, name, value)
        assert name != "href" or (value or "").startswith("#m"), (tag, name, value)  # a marker within the same figure
    assert audit.policy.startswith("default-src 'none'; style-src 'sha256-")


def test_the_page_loads_nothing_and_runs_nothing(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert_inert(page)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", page)


def test_the_policy_names_the_style_sheet_that_is_there(report: Path) -> None:
    import base64
    import hashlib

    page = (report / "report.html").read_text()
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style.group(1).encode()).digest()).decode()
    assert f"style-src &#39;sha256-{digest}&#39;" in page or f"style-src 'sha256-{digest}'" in page


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    n = 60
    rng = np.random.default_rng(0)
    ids = [f"{HOSTILE[i % len(HOSTILE)]}{i}" for i in range(n)]
    label = rng.integers(0, len(HOSTILE), n)
    frame = pl.DataFrame({"id": ids, HOSTILE[0]: [HOSTILE[c] for c in label], HOSTILE[1]: rng.normal(size=n)})
    frame.write_parquet(tmp_path / "labels.parquet")
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    tables = [Embedding(h, ids, vectors + i, h, {h: h}) for i, h in enumerate(HOSTILE[:3])]
    run_probes(tables, tmp_path / "labels.parquet", tmp_path / "r", replicates=100, title=HOSTILE[0])
    page = (tmp_path / "r" / "report.html").read_text()
    assert_inert(page)
    assert "&lt;script&gt;" in page and "{{ 7*7 }}" in page
    table = (tmp_path / "r" / "report.md").read_text()
    assert "<" not in table.replace(r"\<", "") and "\\<script\\>" in table
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len({line.replace(r"\|", "").count("|") for line in rows}) == 1


def test_an_older_report_is_replaced_and_nothing_else_is(members: Path, report: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="not a report folder"):
        run_probes([random_embedding(members, 0)], members, mine)
    assert (mine / "thesis.txt").exists()
    older = tmp_path / "older"
    older.mkdir()
    (older / "report.json").write_text("{}")
    run_probes([random_embedding(members, 0)], members, older, tasks=["geometry"], replicates=100, projection="none")
    assert "geometry" in (older / "report.json").read_text()


def test_embeddings_with_the_same_name_are_distinguished(members: Path, tmp_path: Path) -> None:
    tables = [random_embedding(members, 0, "chance"), random_embedding(members, 1, "chance")]
    found = probe(tables, members, tasks="retrieval", baselines="none", replicates=100, projection="none").to_polars()
    assert set(found["embedding"].unique()) == {"chance", "chance.2", "chance.3"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["retreival"]}, "did you mean 'retrieval'"),
        ({"tasks": ["regression"]}, "does not apply"),
        ({"baselines": ["onehot"]}, "unknown baseline 'onehot'"),
        ({"projection": "mds"}, "projection must be auto"),
        ({"replicates": 5}, "replicates must be at least 100"),
        ({"columns": ["fold"]}, "no column 'fold'"),
    ],
)
def test_unknown_names_are_reported(members: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run_probes([random_embedding(members, 0)], members, tmp_path / "r", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "r").exists()


def test_tables_without_a_common_id_are_an_error(members: Path, tmp_path: Path) -> None:
    stranger = Embedding("x", ["p", "q"], np.ones((2, 3), dtype=np.float32), source="x.npz")
    with pytest.raises(BadInputError, match=r"no id of x\.npz"):
        run_probes([stranger], members, tmp_path / "r")


def test_only_items_that_all_tables_have_are_scored(members: Path, tmp_path: Path) -> None:
    whole = random_embedding(members, 0)
    part = Embedding("part", whole.ids[:70], whole.vectors[:70])
    found = probe([whole, part], members, tasks="retrieval", replicates=100, projection="none").to_polars()
    assert found["n"].max() == 70
    values = found.filter(pl.col("metric") == "top-1 accuracy").sort("embedding")
    assert (
        values.filter(pl.col("embedding") == "random")["value"][0]
        == values.filter(pl.col("embedding") == "part")["value"][0]
    )


def test_the_style_sheet_defines_each_colour_of_the_plots_in_both_themes() -> None:
    sheet = (Path(plots.__file__).parent / "report.css").read_text()
    light, dark = sheet.split("prefers-color-scheme: dark")
    for name, colour in PALETTE.items():
        assert f"--{name}:{colour}" in plots.light_css() and f"--{name}:" not in light
        assert f"--{name}: " in dark


def test_numbers_are_short_and_have_a_true_minus() -> None:
    assert [number(v) for v in (0.12345, -0.5, 12.345, 1234.5, -1e-9, 1.0)] == [
        "0.123",
        "−0.500",
        "12.3",
        "1,234",
        "0.000",
        "1.000",
    ]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("n", "kind"), [(60, "one point"), (60, "one dimension"), (4, "noise"), (30, "zeros")])
def test_degenerate_embeddings_get_a_report_too(tmp_path: Path, n: int, kind: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"one point": np.ones((n, 5)), "one dimension": rng.normal(size=(n, 1)), "zeros": np.zeros((n, 3))}
    vectors = shapes.get(kind, rng.normal(size=(n, 3))).astype(np.float32)
    ids = [f"s{i}" for i in range(n)]
    frame = pl.DataFrame({"id": ids, "family": [f"f{i % 2}" for i in range(n)], "heat": rng.normal(size=n)})
    frame.write_parquet(tmp_path / "labels.parquet")
    found = run_probes([Embedding("e", ids, vectors)], tmp_path / "labels.parquet", tmp_path / "r", replicates=100)
    assert found.to_polars()["value"].null_count() == 0
    assert (tmp_path / "r" / "report.html").stat().st_size > 10_000


def test_a_residue_table_is_probed_as_residues_and_as_sequences(members: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(members, separator="\t")
    frame = frame.with_columns(state=pl.col("sequence").str.replace_all("[AILMFVWY]", "1").str.replace_all("[^1]", "0"))
    frame = frame.with_columns(state=pl.col("state").str.replace_all("1", "h").str.replace_all("0", "p"))
    frame.write_parquet(tmp_path / "labels.parquet")
    letters = dict(zip(frame["id"], frame["sequence"], strict=True))
    pooled = np.random.default_rng(0).normal(size=(len(letters), 3)).astype(np.float32)
    table = Embedding("mine", list(letters), pooled, residues=OneHot(letters))
    found = probe(table, tmp_path / "labels.parquet", tasks=["residues", "retrieval"], replicates=100).to_polars()
    by_task = {task: set(rows["embedding"]) for (task,), rows in found.group_by("task")}
    assert by_task["residues"] == {"mine", "composition", "window of 15", "chance"}
    assert by_task["retrieval"] == {"mine", "composition", "dipeptides", "chance"}
    assert found.filter((pl.col("task") == "residues") & (pl.col("embedding") == "mine"))["value"].min() == 1
