"""`cite` gives the BibTeX entries of what a run used."""

import re
import tomllib

import numpy as np
import pytest

import napari_diffusion as nd
from helpers.paths import ROOT
from napari_diffusion.workflows.citation import bibliography

IMAGE = np.zeros((16, 16), np.float32)
KINDS = [*nd.models.BUILTIN, *nd.schemes.BUILTIN]


def keys(text):
    """Return the keys of BibTeX entries."""
    return re.findall(r"^@\w+\{([\w-]+),$", text, flags=re.MULTILINE)


@pytest.mark.parametrize("model", nd.models.BUILTIN, ids=lambda model: model.name)
def test_every_model_cites_this_software_and_a_source(model):
    cited = keys(nd.cite(model()))
    assert cited[0] == "napari-diffusion"
    assert len(cited) > 1


def test_the_source_of_the_regularised_model_is_cited_where_it_is_used():
    classic, regularised = (keys(nd.cite(nd.PeronaMalik(sigma=sigma))) for sigma in (0.0, 1.0))
    assert classic == ["napari-diffusion", "perona1990"]
    assert regularised == [*classic, "catte1992"]


def test_a_run_that_is_held_to_its_input_cites_the_source():
    held = nd.Recipe(nd.TotalVariation(), None, fidelity_length=2.0)
    assert "nordstrom1990" in keys(nd.cite(held))
    assert "nordstrom1990" not in keys(nd.cite(nd.TotalVariation()))


def test_a_recipe_cites_its_scheme_and_its_version():
    recipe = nd.Recipe(nd.PeronaMalik(sigma=1.0), time=2.0, scheme="rkl2", version="9.8.7")
    text = nd.cite(recipe)
    assert keys(text)[-1] == "meyer2014"
    assert "version = {9.8.7}," in text
    with_object = nd.Recipe(nd.PeronaMalik(sigma=1.0), time=2.0, scheme=nd.schemes.FSI())
    assert keys(nd.cite(with_object))[-1] == "hafner2016"


def test_a_plan_says_which_scheme_was_chosen():
    recipe = nd.Recipe(nd.Linear(), time=2.0)
    assert "lindeberg1990" not in keys(nd.cite(recipe))
    assert keys(nd.cite(recipe, nd.plan(IMAGE, recipe)))[-1] == "lindeberg1990"
    strict = nd.Recipe(nd.EdgeEnhancing(), time=2.0, strict=True)
    assert keys(nd.cite(strict, nd.plan(IMAGE, strict)))[-1] == "fehrenbach2014"


def test_no_source_is_cited_twice():
    recipe = nd.Recipe(nd.CoherenceEnhancing(), time=2.0, strict=True)
    cited = keys(nd.cite(recipe, nd.plan(IMAGE, recipe)))
    assert len(cited) == len(set(cited))


def test_a_model_of_another_package_brings_its_own_entry():
    entry = "@article{mine2030,\n  title = {A model},\n}"
    own = type("Own", (nd.Linear,), {"references": (entry,)})
    assert nd.cite(own()).endswith(f"\n\n{entry}\n")
    unknown = type("Unknown", (nd.Linear,), {"references": ("nobody1900",)})
    with pytest.raises(ValueError, match="'nobody1900' is no BibTeX entry"):
        nd.cite(unknown())


def test_what_is_no_recipe_is_refused():
    with pytest.raises(TypeError, match="cite needs a recipe or a model, not str"):
        nd.cite("linear")


def test_every_entry_is_the_source_of_something():
    used = {key for kind in KINDS for key in kind.references} | {
        "catte1992",
        "makitalo2013",
        "napari-diffusion",
        "nordstrom1990",
    }
    assert used == set(bibliography())


def test_entries_are_complete():
    """Braces are balanced, and every entry has authors, a title and, except this one, a year."""
    for key, entry in bibliography().items():
        assert entry.count("{") == entry.count("}")
        fields = {"author", "title"} | ({"url"} if key == "napari-diffusion" else {"year"})
        assert fields <= set(re.findall(r"^  (\w+) = \{", entry, flags=re.MULTILINE))


def test_digital_object_identifiers_are_those_of_the_docstrings():
    text = "".join(entry for entry in bibliography().values())
    sources = [*ROOT.glob("src/napari_diffusion/models/*.py")]
    sources += ROOT.glob("src/napari_diffusion/schemes/*.py")
    stated = set()
    for path in sources:
        stated |= set(re.findall(r"doi:(10\.\d+/[\w.()/:-]*\w)", path.read_text("utf-8")))
    assert len(stated) > 10
    assert not {doi for doi in stated if f"doi = {{{doi}}}" not in text}


def test_the_address_of_this_software_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"url = {{{project['urls']['Source']}}}" in bibliography()["napari-diffusion"]
