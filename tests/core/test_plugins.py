import subprocess
import sys

import pytest

from phylocli.core.errors import UsageError
from phylocli.core.plugins import ENCODERS, KINDS


def test_an_unknown_name_gets_the_known_ones_and_the_nearest():
    known = ENCODERS.names()
    with pytest.raises(UsageError, match="unknown encoder") as caught:
        ENCODERS.load(known[0] + "x")
    assert repr(known[0]) in str(caught.value)


def test_a_path_is_not_a_plugin_name():
    for name in ("../errors", "_model", "__init__", "os.path"):
        with pytest.raises(UsageError):
            ENCODERS.load(name)


def test_listing_imports_nothing():
    code = """
import sys
from phylocli.core.plugins import KINDS
for kind in KINDS:
    for name in kind.names():
        kind.summary(name)
print([m for m in ("torch", "numpy", "polars", "pyhmmer", "skbio") if m in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.noun)
def test_every_plugin_has_a_summary_for_listings(kind):
    for name in kind.names():
        assert len(kind.summary(name)) > 10, name
