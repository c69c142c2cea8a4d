"""The examples in docstrings run, and all that the package offers at its top has one."""

import doctest
import importlib
from pathlib import Path

import pytest

import jaxpriors

ROOT = Path(jaxpriors.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text()
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0 and result.attempted > 0


@pytest.mark.parametrize("name", jaxpriors.__all__)
def test_what_the_package_offers_has_an_example(name):
    assert ">>> " in (getattr(jaxpriors, name).__doc__ or "")
