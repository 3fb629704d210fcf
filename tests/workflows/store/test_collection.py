"""All images of a plate or of a set of positions are filtered by themselves, in their places."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import yaozarrs
import zarr

import napari_diffusion as nd
from helpers.stores import noisy
from napari_diffusion import io
from napari_diffusion.cli import main
from napari_diffusion.core.errors import BlockFailed, TargetExists
from napari_diffusion.workflows.store import collection, tasks
from napari_diffusion.workflows.store.work_folder import WorkFolder

RECIPE = nd.Recipe(nd.PeronaMalik(kappa=9.0), 1.0, unit="micrometer")
SHAPES = {"A/1/0": (2, 6, 20, 22), "A/1/1": (2, 6, 20, 22), "B/3/0": (2, 5, 24, 18)}
WELLS = ("A/1", "B/3")
FILTER = ["--model", "perona-malik", "--kappa", "9", "--time", "1"]


def image_attributes(version):
    space = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
    axes = [{"name": "c", "type": "channel"}, *space]
    scale = {"type": "scale", "scale": [1, 2, 0.5, 0.5]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}]
    multiscale = {"axes": axes, "datasets": datasets}
    window = {"min": 0, "max": 255, "start": 0, "end": 200}
    omero = {
        "channels": [
            {"label": name, "color": colour, "window": window, "active": True}
            for name, colour in (("DAPI", "0000FF"), ("GFP", "00FF00"))
        ]
    }
    if version == "0.4":
        multiscale["version"] = "0.4"
    return {"multiscales": [multiscale], "omero": omero}


def put(group, version, attributes):
    if version == "0.5":
        attributes = {"ome": {"version": "0.5", **attributes}}
    group.attrs.update(attributes)


def write_image(path, version, shape, seed):
    zarr_format = 2 if version == "0.4" else 3
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    put(group, version, image_attributes(version))
    array = group.create_array("0", shape=shape, chunks=(1, 3, 10, 10), dtype="u1")
    array[...] = noisy(shape, "u1", seed)


def write_plate(path, version="0.5"):
    zarr_format = 2 if version == "0.4" else 3
    plate = {
        "name": "screen",
        "version": version,
        "rows": [{"name": "A"}, {"name": "B"}],
        "columns": [{"name": "1"}, {"name": "3"}],
        "wells": [
            {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
            {"path": "B/3", "rowIndex": 1, "columnIndex": 1},
        ],
        "field_count": 2,
        "acquisitions": [{"id": 0, "name": "first", "maximumfieldcount": 2}],
    }
    root = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    put(root, version, {"plate": plate})
    for well in WELLS:
        fields = [name.rpartition("/")[2] for name in SHAPES if name.startswith(well)]
        images = [{"path": field, "acquisition": 0} for field in fields]
        put(root.require_group(well), version, {"well": {"version": version, "images": images}})
    for seed, (name, shape) in enumerate(SHAPES.items()):
        write_image(path / name, version, shape, seed)
    return path


@pytest.fixture
def plate(tmp_path):
    return write_plate(tmp_path / "plate.ome.zarr")


def check(source, target, names=SHAPES):
    for name in names:
        before, after = io.read(source / name), io.read(target / name)
        expected = RECIPE.diffuse(before.data[...], spacing=(2, 0.5, 0.5), axes=(1, 2, 3))
        np.testing.assert_array_equal(after.data[...], expected, strict=True)
        assert after.channel_names == ("DAPI", "GFP")
        assert (after.axes, after.spacing) == (before.axes, before.spacing)
        yaozarrs.validate_zarr_store(str(target / name))
    yaozarrs.validate_zarr_store(str(target))
    folder = target.parent
    assert {path.name for path in folder.iterdir()} == {
        source.name, target.name, f"{target.name}.recipe.json"
    }  # fmt: skip
    assert not list(target.rglob("*.partial*"))
    assert not list(target.rglob("*.recipe.json"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_plate(tmp_path, version):
    source = write_plate(tmp_path / "plate.ome.zarr", version)
    target, shares = tmp_path / "out.ome.zarr", []
    plan = nd.plan_store(source, target, RECIPE, memory="70 MiB")
    assert list(plan.images) == list(SHAPES)
    assert plan.describe().startswith("3 images, A/1/0 to B/3/0, each by itself; ")
    assert not WorkFolder.of(target).path.exists()
    nd.diffuse_store(source, target, RECIPE, memory="70 MiB", progress=shares.append)
    check(source, target)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    before, after = (zarr.open_group(str(path), mode="r") for path in (source, target))
    plate = dict(after.attrs["ome"]["plate"])
    original = before.attrs["plate"] if version == "0.4" else before.attrs["ome"]["plate"]
    assert plate == {key: value for key, value in original.items() if key != "version"}
    assert after["A/1"].attrs["ome"]["well"]["images"][1] == {"path": "1", "acquisition": 0}
    with pytest.raises(FileExistsError, match="exists already"):
        nd.diffuse_store(source, target, RECIPE)


def test_labels_inside_a_plate_are_copied(plate, tmp_path):
    group = zarr.open_group(str(plate / "A/1/0"), mode="r+").create_group("labels")
    group.attrs["ome"] = {"version": "0.5", "labels": ["cells"]}
    cells = group.create_group("cells")
    attributes = {key: value for key, value in image_attributes("0.5").items() if key != "omero"}
    cells.attrs["ome"] = {"version": "0.5", **attributes, "image-label": {}}
    values = np.arange(2 * 6 * 20 * 22, dtype="u4").reshape(SHAPES["A/1/0"])
    cells.create_array("0", shape=values.shape, chunks=(1, 3, 10, 10), dtype="u4")[...] = values
    target = tmp_path / "out.ome.zarr"
    nd.diffuse_store(plate, target, RECIPE, memory="70 MiB")
    check(plate, target)
    np.testing.assert_array_equal(zarr.open(str(target / "A/1/0/labels/cells/0"))[...], values)


def test_images_are_filtered_side_by_side_by_other_executors(plate, tmp_path, monkeypatch):
    target, at_once = tmp_path / "out.ome.zarr", []
    lock, running = threading.Lock(), set()
    do = collection.CollectionRun._do

    def counted(run, index, *others):
        with lock:
            running.add(index)
            at_once.append(len(running))
        do(run, index, *others)
        with lock:
            running.discard(index)

    monkeypatch.setattr(collection.CollectionRun, "_do", counted)
    with ThreadPoolExecutor(3) as pool:
        plan = nd.plan_store(plate, target, RECIPE, memory="300 MiB", executor=pool)
        assert plan.at_once == 2  # two blocks in each image, one for a channel
        assert plan.memory <= 300 << 20
        nd.diffuse_store(plate, target, RECIPE, memory="300 MiB", executor=pool)
    assert max(at_once) == 2
    check(plate, target)


@pytest.mark.parametrize("pooled", [False, True])
def test_a_failing_image_is_named_and_the_others_are_kept(plate, tmp_path, monkeypatch, pooled):
    target, done, run = tmp_path / "out.ome.zarr", [], tasks.Job.run

    def failing(job, stage, index, cancel=None):
        if stage == "pass-0":
            done.append(job.folder.path.name)
            if "/B/" in str(job.folder.path) and failing.fails:
                raise ValueError("a chunk is damaged")
        run(job, stage, index, cancel)

    failing.fails = True
    monkeypatch.setattr(tasks.Job, "run", failing)
    pool = ThreadPoolExecutor(1) if pooled else None
    sentence = r"out\.ome\.zarr.B.3.0: the block .* has failed: a chunk is damaged"
    with pytest.raises(BlockFailed, match=sentence):
        nd.diffuse_store(plate, target, RECIPE, executor=pool)
    assert not target.exists()
    failing.fails = False
    done.clear()
    nd.diffuse_store(plate, target, RECIPE, executor=pool)
    assert set(done) == {".0.partial"}  # only the image that had failed
    check(plate, target)


def test_other_settings_and_a_changed_image_are_refused(plate, tmp_path):
    target, cancel = tmp_path / "out.ome.zarr", threading.Event()

    def progress(share):
        if share > 0.4:
            cancel.set()

    with pytest.raises(nd.Cancelled):
        nd.diffuse_store(plate, target, RECIPE, progress=progress, cancel=cancel)
    assert not target.exists()
    other = nd.Recipe(nd.PeronaMalik(kappa=8.0), 1.0, unit="micrometer")
    with pytest.raises(TargetExists, match="other settings"):
        nd.diffuse_store(plate, target, other)
    zarr.open_array(str(plate / "A/1/0/0"), mode="r+")[0, 0, 0] = 7
    with pytest.raises(TargetExists, match="another source"):
        nd.diffuse_store(plate, target, RECIPE)
    nd.diffuse_store(plate, target, RECIPE, resume=False)
    check(plate, target)


def test_positions_and_parts(tmp_path):
    source, target = tmp_path / "positions.ome.zarr", tmp_path / "out.ome.zarr"
    root = zarr.open_group(str(source), mode="w")
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    root.require_group("OME").attrs["ome"] = {"version": "0.5", "series": ["0", "1", "2"]}
    for seed, name in enumerate("012"):
        write_image(source / name, "0.5", (2, 4, 16, 18), seed)
    for part in (2, 1):
        nd.diffuse_store(source, target, RECIPE, part=(part, 2))
        assert not target.exists()
    seen = []
    nd.diffuse_store(source, target, RECIPE, progress=seen.append)
    assert not seen  # all images were done by the parts
    check(source, target, "012")
    group = zarr.open_group(str(target), mode="r")
    assert group.attrs["ome"]["bioformats2raw.layout"] == 3
    assert group["OME"].attrs["ome"]["series"] == ["0", "1", "2"]


def test_the_command_line(plate, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["run", plate.name, "out.ome.zarr", *FILTER, "--memory", "70MiB"]
    assert main([*arguments, "--dry-run"]) == 0
    assert "3 images, A/1/0 to B/3/0, each by itself" in capsys.readouterr().out
    assert main([*arguments, "--part", "1/2"]) == 0
    assert "This part is done" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "1 images are left" in capsys.readouterr().err
    check(plate, tmp_path / "out.ome.zarr")
    assert main(["run", plate.name, "out.tif", *FILTER]) == 2
    assert "several images are written as OME-Zarr" in capsys.readouterr().err
    np.save("mask.npy", np.ones((6, 20, 22), bool))
    assert main(["run", plate.name, "b.ome.zarr", *FILTER, "--mask", "mask.npy"]) == 2
    assert "are of one image, and it holds several; name one" in capsys.readouterr().err


def test_a_choice_for_the_whole_plate(plate, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["run", plate.name, "out.ome.zarr", "--model", "linear", "--auto"]
    assert main([*arguments]) == 0
    assert "Noise" in capsys.readouterr().err
    recipes = []
    for name in SHAPES:
        plain = json.loads((tmp_path / "out.ome.zarr" / name / "zarr.json").read_text())
        recipes.append(plain["attributes"]["napari-diffusion"]["recipe"])
    assert len({(json.dumps(each["model"]), each["time"]) for each in recipes}) == 1


def test_images_outside_of_the_store_are_refused(plate, tmp_path):
    file = plate / "B" / "3" / "zarr.json"
    plain = json.loads(file.read_text())
    plain["attributes"]["ome"]["well"]["images"][0]["path"] = "../../elsewhere"
    file.write_text(json.dumps(plain))
    with pytest.raises(ValueError, match="names an image outside of its folder"):
        nd.diffuse_store(plate, tmp_path / "out.ome.zarr", RECIPE)
