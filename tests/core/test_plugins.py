import sys

import pytest

from phylocli.core import plugins as registry
from phylocli.core.errors import UsageError


def test_an_unknown_name_gets_the_known_ones_and_the_nearest():
    known = registry.names("encoders")
    assert known
    with pytest.raises(UsageError, match="no encoder named") as caught:
        registry.load("encoders", known[0] + "x")
    assert repr(known[0]) in str(caught.value)


def test_a_path_is_not_a_plugin_name():
    for name in ("../errors", "_model", "__init__", "os.path"):
        with pytest.raises(UsageError):
            registry.load("encoders", name)


def test_listing_imports_nothing():
    code = """
import sys
from phylocli.core import plugins as registry
for name in registry.names("encoders"):
    registry.summary("encoders", name)
print("torch" in sys.modules)
"""
    import subprocess

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    "room", ["tree.engines", "align.engines", "views", "encoders", "critics", "objectives", "probe.tasks"]
)
def test_every_plugin_says_what_it_is(room):
    for name in registry.names(room):
        assert len(registry.summary(room, name)) > 10, (room, name)
        assert registry.load(room, name)
