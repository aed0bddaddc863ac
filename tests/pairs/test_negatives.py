"""Hard negatives: the most similar non-homologous families, by profile, group or model; never of the same clan."""

from __future__ import annotations

import numpy as np
import pytest

from phylocli.core.errors import BadInputError, UsageError
from phylocli.formats import read_families
from phylocli.formats.tables import negatives_schema, read_table
from phylocli.pairs.negatives import (
    FamilySummary,
    allowed_pairs,
    group_scores,
    negatives_table,
    profile_scores,
    read_groups,
    summaries_of,
)
from phylocli.workflow.negatives import write_negatives


def summaries(*clans: str) -> list[FamilySummary]:
    return [FamilySummary(f"F{k}", clan, ["MKV"]) for k, clan in enumerate(clans)]


def test_neither_itself_nor_its_clan_nor_a_homolog_is_a_negative() -> None:
    homologous = np.zeros((5, 5), dtype=bool)
    homologous[3, 4] = homologous[4, 3] = True
    allowed = allowed_pairs(summaries("CL1", "CL1", "CL2", "", ""), homologous)
    expected = ~np.eye(5, dtype=bool)
    expected[0, 1] = expected[1, 0] = expected[3, 4] = expected[4, 3] = False
    assert (allowed == expected).all()
    assert allowed_pairs(summaries("", ""))[0, 1]  # no clan is no common clan


def test_nearest_families_come_first_and_ties_are_random() -> None:
    rng = np.random.default_rng(0)
    found = summaries(*[f"CL{k % 4}" for k in range(12)])
    scores = rng.normal(size=(12, 12))
    scores = scores + scores.T
    allowed = allowed_pairs(found)
    table = negatives_table(found, scores, allowed, by="profile", count=3)
    assert table.columns == negatives_schema().names and table.height == 36
    for i, summary in enumerate(found):
        brute = sorted((j for j in range(12) if j % 4 != i % 4), key=lambda j: -scores[i, j])[:3]
        rows = table.filter(table["family"] == summary.label)
        assert rows["negative"].to_list() == [f"F{j}" for j in brute] and rows["rank"].to_list() == [1, 2, 3]
    assert (table["clan"] != table["negative_clan"]).all()
    level = np.zeros((12, 12))
    draws = {negatives_table(found, level, allowed, by="group", count=1, seed=s)["negative"][0] for s in range(20)}
    assert len(draws) > 3


def test_groups_hold_other_clans_only(tmp_path) -> None:
    path = tmp_path / "groups.tsv"
    path.write_text("family\tgroup\nF0\tbarrel\nF1\tbarrel\nF2\tbarrel\nF3\tother\nF9\tbarrel\n")
    found = summaries("CL1", "CL1", "CL2", "CL3", "")
    table = negatives_table(found, group_scores(found, read_groups(path)), allowed_pairs(found), by="group", count=5)
    assert set(zip(table["family"], table["negative"], strict=True)) == {
        ("F0", "F2"), ("F1", "F2"), ("F2", "F0"), ("F2", "F1")
    }  # fmt: skip
    path.write_text("family\tgroup\nF0\ta\nF0\tb\n")
    with pytest.raises(BadInputError, match="groups"):
        read_groups(path)
    path.write_text("family\tgroup\nG0\ta\n")
    with pytest.raises(BadInputError, match="none of the families"):
        group_scores(found, read_groups(path))


def test_profiles_find_a_family_in_its_own_half(examples) -> None:
    families = [f for f in read_families(examples / "families.sto") if f.accession in ("PF00042", "PF00134", "PF02790")]
    globins = families[0]
    half = globins.subset(globins.ids[::2])
    half.accession, half.clan = "PF99999", ""
    found = summaries_of([*families, half], profile=True)
    scores, homologous = profile_scores(found)
    np.testing.assert_array_equal(scores, scores.T)
    assert homologous[0, 3] and not homologous[0, 1] and not homologous[1, 2]
    assert scores[0, 3] > 50 > scores[0, 1] > -np.inf  # what is not significant is there too
    assert not allowed_pairs(found, homologous)[0, 3]


def test_one_family_or_one_clan_has_no_negatives(examples) -> None:
    families = list(read_families(examples / "families.sto"))[:2]
    with pytest.raises(BadInputError, match="at least two families"):
        summaries_of(families[:1], profile=False)
    with pytest.raises(BadInputError, match="twice"):
        summaries_of([families[0], families[0]], profile=False)
    kin = summaries("CL1", "CL1")
    with pytest.raises(BadInputError, match="hard negative"):
        negatives_table(kin, np.zeros((2, 2)), allowed_pairs(kin), by="profile", count=1)
    with pytest.raises(UsageError, match="profile"):
        write_negatives(families, None, "nearest")


def test_hard_negatives_by_model_are_the_most_similar_families(examples, tmp_path) -> None:
    from phylocli.models.model import Model

    folder = Model.create(preset="tiny", seed=1).save(tmp_path / "model")
    families = list(read_families(examples / "families.sto"))[:5]
    out = tmp_path / "negatives.parquet"
    assert write_negatives(families, out, str(folder), count=4) > 0
    table = read_table(out)
    assert set(table["by"]) == {"model"} and table["score"].is_between(-1, 1.0001).all()
    for _, rows in table.group_by("family"):
        assert rows.sort("rank")["score"].is_sorted(descending=True)
    assert (table["clan"].is_null() | (table["clan"] == "") | (table["clan"] != table["negative_clan"])).all()
