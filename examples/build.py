"""Rebuild `families.sto` and `globins.fasta` from two Debian packages.

    apt-get install hmmer-examples python-biopython-doc
    python examples/build.py [FOLDER that the packages were unpacked to, default /]

The rows of the Pfam seed records are unchanged; of their annotation, accession, name, description and clan are kept.
Clans missing in the old records are taken from Pfam 35 and 38. The globins are aligned to `globins4.hmm` of the package.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import phylocli

HERE = Path(__file__).parent
HMMER = "usr/share/doc/hmmer/examples"
BIOPYTHON = "usr/share/doc/python-biopython-doc/Tests/Stockholm"
RECORDS = [
    f"{HMMER}/tutorial/fn3.sto",
    f"{HMMER}/tutorial/Pkinase.sto",
    f"{HMMER}/testsuite/RRM_1.sto.gz",
    f"{HMMER}/testsuite/SMC_N.sto.gz",
    f"{HMMER}/testsuite/LuxC.sto.gz",
    f"{HMMER}/testsuite/Patched.sto.gz",
    f"{HMMER}/easel/demotic/examples/example.sto.gz",
    f"{HMMER}/easel/demotic/examples/example-single.sto.gz",
    f"{BIOPYTHON}/pfam8.seed.txt.gz",
    f"{BIOPYTHON}/pfam6.seed.txt",
    f"{BIOPYTHON}/pfam5.seed.txt.gz",
    f"{BIOPYTHON}/pfam4.seed.txt.gz",
]
CLANS = {
    "PF00041": "CL0159",
    "PF00042": "CL0090",
    "PF00069": "CL0016",
    "PF00076": "CL0221",
    "PF00344": "CL0376",
    "PF01073": "CL0063",
    "PF02463": "CL0023",
}


def main(root: Path) -> None:
    """Write both files beside this script."""
    shutil.copyfile(root / HMMER / "tutorial" / "globins45.fa", HERE / "globins.fasta")
    families = [family for record in RECORDS for family in phylocli.read_families(root / record)]
    globins = phylocli.align_families(
        phylocli.read_families(HERE / "globins.fasta"), method="profile", hmm=root / HMMER / "tutorial" / "globins4.hmm"
    )
    for family in globins:
        families.append(replace(family, accession="PF00042", name="Globin", description="Globin", notes=[]))
    kept = [
        replace(
            family,
            clan=family.clan or CLANS.get(family.accession, ""),
            features=[],
            sequence_features={},
            residue_features={},
            column_features={k: v for k, v in family.column_features.items() if k == "RF"},
        )
        for family in sorted(families, key=lambda f: f.accession)
    ]
    phylocli.write_families(kept, HERE / "families.sto")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "/"))
