"""The TOML file of a mapping: all fields, what wins, and what is refused."""

import pytest

from jaxpriors.data.mapping import read_mapping
from jaxpriors.data.reading import Reading
from jaxpriors.errors import InputError

WHOLE = """
level = "detector"
coordinates = "pt,eta,phi,m"
ignore = ["LHEWeight", "pass_old"]
padding = -9
identities = { 1 = 130, 2 = 22 }
unit = "MeV"
tree = "Events"
group = "jetIdx"
cut = "pt > 300"

[columns]
pt = "PFCands_pt[idx]"
weight = "genWeight"
"""


def test_all_fields(tmp_path):
    (tmp_path / "a.toml").write_text(WHOLE)
    assert read_mapping(tmp_path / "a.toml") == Reading(
        level="detector",
        columns={"pt": "PFCands_pt[idx]", "weight": "genWeight"},
        coordinates="pt,eta,phi,m",
        ignore=("LHEWeight", "pass_old"),
        padding=-9.0,
        identities={1: 130, 2: 22},
        unit="MeV",
        tree="Events",
        group="jetIdx",
        cut="pt > 300",
    )


def test_what_is_said_elsewhere_wins(tmp_path):
    (tmp_path / "a.toml").write_text(WHOLE)
    given = Reading(columns={"weight": "w2", "x": "y"}, cut="pt > 500")
    found = read_mapping(tmp_path / "a.toml", given)
    assert found.cut == "pt > 500" and found.unit == "MeV"
    assert found.columns == {"pt": "PFCands_pt[idx]", "weight": "w2", "x": "y"}


@pytest.mark.parametrize(
    "text, message",
    [
        ('colums = "x"', "found the key 'colums', expected some of level, columns"),
        ("columns = 3", "columns: found 3, expected a table of texts"),
        ("[columns]\npt = 3", "expected a table of texts"),
        ("cut = true", "cut: found True, expected a text"),
        ("ignore = 'x'", "ignore: found 'x', expected a list of texts"),
        ("padding = true", "padding: found True, expected a number"),
        ("identities = { a = 1 }", "identities: found {'a': 1}, expected integers"),
        ("unit = 'keV'", "unit: found 'keV', expected one of GeV, MeV"),
        ("unit = ", "is no TOML file"),
        ("a = " + "[" * 9000, "is no TOML file"),
    ],
)
def test_what_is_refused(tmp_path, text, message):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(InputError) as found:
        read_mapping(path)
    assert str(found.value).startswith(f"{path}: ") and message in str(found.value)
    assert "\n" not in str(found.value)
    with pytest.raises(InputError, match="no such file"):
        read_mapping(tmp_path / "b.toml")
