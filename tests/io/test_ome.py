"""OME-XML of results whose source is not an OME-TIFF: every value, and the order of the schema."""

import json

import numpy as np
import pytest
import tifffile

from helpers.files import Recipe
from helpers.omexml import OME, pixels_of, recipes, root_of
from napari_diffusion import io
from napari_diffusion.io.volume import Volume

SIZES = {"T": 3, "C": 2, "Z": 4, "Y": 7, "X": 8, "S": 3}
STEPS = {"X": 0.2, "Y": 0.3, "Z": 0.7}
TYPES = {"u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32"}
TYPES |= {"f4": "float", "f8": "double"}
#: Children in the order of the schema 2016-06; only those that a result may have.
ORDER = {
    "OME": ["Image", "StructuredAnnotations", "ROI"],
    "Image": ["AcquisitionDate", "Description", "Pixels", "ROIRef", "AnnotationRef"],
    "Pixels": ["Channel", "BinData", "TiffData", "MetadataOnly", "Plane"],
    "Channel": ["LightSourceSettings", "AnnotationRef", "LightPath"],
    "StructuredAnnotations": ["XMLAnnotation", "CommentAnnotation"],
    "CommentAnnotation": ["Description", "Value"],
}
AXES = ["YX", "ZYX", "TYX", "CYX", "CZYX", "TCZYX", "YXS", "TYXS", "TCZYXS"]


#: Its text has characters that XML escapes.
RECIPE = Recipe(json.dumps({"unit": "µm", "text": 'a < b & "c"'}, ensure_ascii=False))


def volume(axes, unit="micrometer", dtype="f4", sizes=SIZES):
    shape = tuple(sizes[letter] for letter in axes)
    return Volume(
        np.arange(np.prod(shape)).reshape(shape).astype(dtype),
        axes,
        tuple(STEPS.get(letter) for letter in axes),
        unit,
        axes.index("S") if "S" in axes else None,
        2.5 if "T" in axes else None,
    )


def write(path, like):
    io.write(path, like.data, like, RECIPE)
    return path


@pytest.mark.parametrize(
    ("unit", "symbol"), [("micrometer", "µm"), ("millimeter", "mm"), ("pixel", None)]
)
@pytest.mark.parametrize("axes", AXES)
def test_document_has_sizes_time_step_and_units(axes, unit, symbol, tmp_path):
    like = volume(axes, unit)
    pixels = pixels_of(write(tmp_path / "out.ome.tif", like))
    attributes = dict(pixels.attrib)
    order = attributes.pop("DimensionOrder")
    varying = "".join(letter for letter in order if letter in axes)
    assert varying == axes.replace("S", "")[::-1]  # the order of the planes in the file
    samples = 3 if "S" in axes else 1
    sizes = {letter: SIZES[letter] if letter in axes else 1 for letter in "XYZCT"}
    sizes["C"] *= samples
    expected = {"ID": "Pixels:0", "Type": "float", "BigEndian": "false"}
    expected |= {f"Size{letter}": str(n) for letter, n in sizes.items()}
    for letter in set(axes) & set("XYZ"):
        if symbol:
            expected |= {
                f"PhysicalSize{letter}": str(STEPS[letter]),
                f"PhysicalSize{letter}Unit": symbol,
            }
    if "T" in axes:
        expected |= {"TimeIncrement": "2.5", "TimeIncrementUnit": "s"}
    if samples > 1:
        expected["Interleaved"] = "true"
    assert attributes == expected
    channels = pixels.findall(f"{OME}Channel")
    assert [(own.get("ID"), own.get("SamplesPerPixel")) for own in channels] == [
        (f"Channel:0:{i}", str(samples)) for i in range(2 if "C" in axes else 1)
    ]


@pytest.mark.parametrize("axes", AXES)
def test_result_is_read_back_by_tifffile(axes, tmp_path):
    like = volume(axes)
    with tifffile.TiffFile(write(tmp_path / "out.ome.tif", like)) as tif:
        assert (tif.is_ome, tif.byteorder, len(tif.series)) == (True, "<", 1)
        series = tif.series[0]
        assert (series.axes, series.shape, series.dtype) == (axes, like.shape, np.float32)
        np.testing.assert_array_equal(series.asarray(), like.data)


@pytest.mark.parametrize("axes", AXES)
def test_elements_are_in_the_order_of_the_schema(axes, tmp_path):
    def check(element):
        name = element.tag.removeprefix(OME)
        order = ORDER.get(name, [])
        places = [order.index(child.tag.removeprefix(OME)) for child in element]
        assert places == sorted(places)
        for child in element:
            check(child)

    root = root_of(write(tmp_path / "out.ome.tif", volume(axes)))
    assert [child.tag.removeprefix(OME) for child in root] == ["Image", "StructuredAnnotations"]
    check(root)


@pytest.mark.parametrize("dtype", TYPES)
def test_document_names_the_type_of_the_pixels(dtype, tmp_path):
    path = write(tmp_path / "out.ome.tif", volume("ZYX", dtype=dtype))
    assert pixels_of(path).get("Type") == TYPES[dtype]
    assert io.read(path).data.dtype == np.dtype(dtype)


def test_recipe_is_an_annotation_in_its_own_namespace(tmp_path):
    path = write(tmp_path / "out.ome.tif", volume("ZYX"))
    (note,) = root_of(path).iter(f"{OME}CommentAnnotation")
    assert note.attrib == {
        "ID": "Annotation:napari-diffusion:0",
        "Namespace": "napari-diffusion/recipe",
    }
    assert recipes(path) == [RECIPE.to_json()]


def test_document_without_a_recipe_has_no_annotation(tmp_path):
    like = volume("ZYX")
    io.write(tmp_path / "out.ome.tif", like.data, like)
    root = root_of(tmp_path / "out.ome.tif")
    assert [child.tag.removeprefix(OME) for child in root] == ["Image"]


def test_equal_results_are_equal_files(tmp_path):
    """The file has no random identifier and no name of the machine."""
    like = volume("TCZYX")
    first, second = (write(tmp_path / f"{name}.ome.tif", like).read_bytes() for name in "ab")
    assert first == second


@pytest.mark.parametrize("samples", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["plain", "ome", "separate"])
def test_samples_stay_an_axis_for_any_number_of_samples(kind, samples, tmp_path):
    shape = (4, samples, 5, 6) if kind == "separate" else (4, 5, 6, samples)
    data = np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)
    axes = "ZSYX" if kind == "separate" else "ZYXS"
    options = {
        "planarconfig": "separate" if kind == "separate" else "contig",
        "photometric": "minisblack",
    }
    options |= {"metadata": None} if kind == "plain" else {"metadata": {"axes": axes}, "ome": True}
    tifffile.imwrite(tmp_path / "in.tif", data, **options)
    source = io.read(tmp_path / "in.tif")
    for name in ("out.tif", "out.ome.tif"):
        io.write(tmp_path / name, source.data, source)
        again = io.read(tmp_path / name)
        assert (again.shape, again.channel_axis) == (shape, None)  # detectors, no colours
        np.testing.assert_array_equal(again.data, data)
        with tifffile.TiffFile(tmp_path / name) as tif:
            assert (len(tif.pages), tif.pages[0].samplesperpixel) == (4, samples)


def test_image_without_samples_is_refused_before_the_run(tmp_path):
    like = volume("YX", sizes={"Y": 0, "X": 5})
    with pytest.raises(ValueError, match="holds no image without samples"):
        io.check_target(tmp_path / "out.ome.tif", like, np.float32)


def test_imagej_planes_in_another_order_become_ome(tmp_path):
    """The format has several orders of planes, but tifffile writes only one of them."""
    data = np.arange(2 * 3 * 5 * 6).reshape(3, 2, 5, 6).astype(np.uint16)
    metadata = {"axes": "ZCYX", "order": "zct", "unit": "um", "spacing": 0.5}
    tifffile.imwrite(tmp_path / "in.tif", data.reshape(2, 3, 5, 6), imagej=True, metadata=metadata)
    source = io.read(tmp_path / "in.tif")
    assert (source.axes, source.shape) == ("CZYX", (3, 2, 5, 6))
    io.write(tmp_path / "out.tif", source.data, source)
    again = io.read(tmp_path / "out.tif")
    assert (again.header.kind, again.axes, again.spacing[1]) == ("ome", "CZYX", 0.5)
    np.testing.assert_array_equal(again.data, data)
