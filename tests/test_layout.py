"""The rules for folders that docs/contributing.md states."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "phylocli"
MOST = 16


def test_a_folder_has_few_files_unless_it_has_one_for_each_thing_that_users_name():
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    (listed,) = re.findall(r"may be longer: (.*?)\.\n", page, re.DOTALL)
    longer = {PACKAGE / folder for folder in re.findall(r"`phylocli/(.*?)/`", listed)}
    assert longer and all(folder.is_dir() for folder in longer)
    files = {folder: [*folder.glob("*.py")] for folder in (PACKAGE, *PACKAGE.rglob("*")) if folder.is_dir()}
    crowded = {str(folder.relative_to(ROOT)): len(found) for folder, found in files.items() if len(found) > MOST + 1}
    assert set(crowded) <= {str(folder.relative_to(ROOT)) for folder in longer}, crowded


def test_the_tests_mirror_the_package():
    ours = {"cli", "services"}  # commands as a user types them; stand-ins for services
    folders = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("*") if path.is_dir()}
    named = {folder for folder in folders if folder.parts[0] not in ours and not set(folder.parts) & {"__pycache__"}}
    missing = {folder for folder in named if not (PACKAGE / folder).is_dir() and not (PACKAGE / f"{folder}.py").is_file()}
    assert not missing
