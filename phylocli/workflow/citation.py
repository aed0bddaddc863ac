"""References to cite: phylocli, the paper on its method, and the programs and databases that it uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """A bibliographic reference.

    Attributes:
        key: the BibTeX key.
        role: what phylocli uses the work for.
        authors: the authors in order, each as `Family, Given`.
        title, year: title and year of publication.
        where: journal or archive.
        link: the URL of the DOI, or another URL.
        kind: the BibTeX entry type.
    """

    key: str
    role: str
    authors: tuple[str, ...]
    title: str
    year: int
    where: str
    link: str
    kind: str = "article"


def references() -> list[Reference]:
    """Return the references, phylocli first."""
    from phylocli import __version__

    title = "phylocli: evolution as contrastive training data for protein embeddings"
    address = "https://github.com/phylocli/phylocli"
    own = Reference(
        "phylocli", "this program", ("The phylocli authors",), title, 2026, f"version {__version__}", address, "software"
    )
    return [
        own,
        Reference(
            "lu2020evolution",
            "the idea: homologs as views",
            ("Lu, Amy X.", "Lu, Alex X.", "Moses, Alan"),
            "Evolution Is All You Need: Phylogenetic Augmentation for Contrastive Learning",
            2020,
            "arXiv 2012.13475",
            "https://arxiv.org/abs/2012.13475",
        ),
        Reference(
            "larralde2023pyhmmer",
            "align, families, fetch and search --align (pyhmmer)",
            ("Larralde, Martin", "Zeller, Georg"),
            "PyHMMER: a Python library binding to HMMER for efficient sequence analysis",
            2023,
            "Bioinformatics 39:btad214",
            "https://doi.org/10.1093/bioinformatics/btad214",
        ),
        Reference(
            "huerta2016ete",
            "trees, orthologs and compare trees (ete3)",
            ("Huerta-Cepas, Jaime", "Serra, François", "Bork, Peer"),
            "ETE 3: Reconstruction, Analysis, and Visualization of Phylogenomic Data",
            2016,
            "Molecular Biology and Evolution 33:1635",
            "https://doi.org/10.1093/molbev/msw046",
        ),
        Reference(
            "blum2025interpro",
            "families from InterPro and Pfam",
            ("Blum, Matthias", "others"),
            "InterPro: the protein sequence classification resource in 2025",
            2025,
            "Nucleic Acids Research 53:D444",
            "https://doi.org/10.1093/nar/gkae1082",
        ),
    ]


def as_text() -> str:
    """Return the references as text, one paragraph each."""
    return "\n\n".join(
        f"{'; '.join(r.authors).replace('; others', ' et al.')} ({r.year}). {r.title}. {r.where}. {r.link}\n  for {r.role}"
        for r in references()
    )


def as_bibtex() -> str:
    """Return the references as BibTeX entries."""
    entries = []
    for r in references():
        fields = {
            "author": " and ".join(f"{{{a}}}" if a.startswith("The ") else a for a in r.authors),
            "title": f"{{{r.title}}}",
        }
        fields |= {"year": str(r.year), "journal" if r.kind == "article" else "note": r.where, "url": r.link}
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in fields.items())
        entries.append(f"@{r.kind}{{{r.key},\n{lines}\n}}")
    return "\n\n".join(entries)
