"""A user's own images: folders of files and arrays of NumPy, from what is there to predictions."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from npsoftmax.cli.main import main
from npsoftmax.data import load_dataset, training_split
from npsoftmax.errors import InputError

COLOURS = {"blue": (20, 30, 220), "green": (30, 200, 40), "red": (230, 20, 30)}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def draw(folder, per_class=10, names=COLOURS, size=(20, 14)):
    """A folder of images for each class, each image its class's colour and a little noise."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            pixels = np.array(COLOURS.get(name, (128, 128, 128))) + rng.integers(-20, 20, (size[1], size[0], 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            image.save(folder / name / f"{i}.{('png', 'jpg', 'JPEG')[i % 3]}")
    return folder


def said(capsys):
    return capsys.readouterr().err


# ---------------------------------------------------------------- folders
def test_a_folder_for_each_class(tmp_path):
    found = load_dataset(f"folder:{draw(tmp_path / 'colours')}")
    assert found.class_names == ("blue", "green", "red")
    assert found.x_train.shape == (24, 32, 32, 3) and found.x_train.dtype == np.uint8
    assert np.bincount(found.y_train).tolist() == [8, 8, 8] and np.bincount(found.y_test).tolist() == [2, 2, 2]
    middles = found.x_train[:, 16, 16].astype(int)
    for label, colour in enumerate(COLOURS.values()):
        assert np.abs(middles[found.y_train == label] - colour).max() < 60


def test_train_val_and_test_folders(tmp_path):
    for part, n in (("train", 5), ("val", 2), ("test", 3)):
        draw(tmp_path / "own" / part, n)
    found = load_dataset(f"folder:{tmp_path / 'own'}", image_size=8)
    assert found.x_train.shape == (21, 8, 8, 3) and len(found.y_test) == 9
    kept, held_out = training_split(found, 0.5, seed=3)
    assert len(kept) == 15 and np.bincount(found.y_train[held_out]).tolist() == [2, 2, 2]
    limited = load_dataset(f"folder:{tmp_path / 'own'}", limit_train=14, image_size=8)
    assert limited.held_out.shape == (14,)


def test_val_alone_is_the_test_set(tmp_path):
    draw(tmp_path / "own" / "train", 5), draw(tmp_path / "own" / "val", 2)
    found = load_dataset(f"folder:{tmp_path / 'own'}")
    assert (len(found.y_train), len(found.y_test)) == (15, 6) and "val/ is the test set" in found.note


def test_the_middle_is_taken_and_exif_obeyed(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255  # the middle square
    for name in ("a", "b"):
        (tmp_path / "own" / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(pixels).save(tmp_path / "own" / name / f"{i}.png")
    turned = Image.fromarray(np.repeat(np.arange(0, 200, 10, np.uint8)[:, None], 20, axis=1))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned.save(tmp_path / "own" / "b" / "9.jpg", exif=exif, quality=95)
    found = load_dataset(f"folder:{tmp_path / 'own'}", image_size=10)
    images = np.concatenate([found.x_train, found.x_test])
    plain = images[np.ptp(images.reshape(len(images), -1), axis=1) == 0]
    assert len(plain) == 10 and (plain == 255).all()
    other = images[np.ptp(images.reshape(len(images), -1), axis=1) > 0][0, :, :, 0].astype(int)
    assert other[5, 0] > other[5, -1] + 100  # what ran down runs from right to left


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("L", 90, 90),
        ("RGBA", (10, 20, 30, 0), 255),
        ("I;16", 257 * 90, 90),
        ("1", 1, 255),
        ("P", 3, None),
        ("LA", (7, 0), 255),
    ],
)
def test_modes_of_images(tmp_path, mode, colour, seen):
    draw(tmp_path / "own", 5)
    for path in (tmp_path / "own" / "blue").iterdir():
        path.unlink()
    for i in range(5):
        Image.new(mode, (9, 9), colour).save(tmp_path / "own" / "blue" / f"{i}.png")
    found = load_dataset(f"folder:{tmp_path / 'own'}")
    image = found.x_train[found.y_train == 0][0]
    assert (image == image[0, 0]).all()
    assert seen is None or np.abs(image[0, 0].astype(int) - seen).max() <= 1


def test_what_lies_beside(tmp_path):
    folder = draw(tmp_path / "own")
    (folder / "notes.txt").write_text("x")
    (folder / "red" / "Thumbs.db").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / "red" / "._1.png").write_bytes(b"x")
    (folder / "red" / "deeper").mkdir()
    shutil.copy(folder / "red" / "0.png", folder / "red" / "deeper" / "0.png")
    found = load_dataset(f"folder:{folder}")
    assert len(found.y_train) + len(found.y_test) == 31 and "1 files that are no images" in found.note


def test_the_cache_is_used_and_never_stale(tmp_path, monkeypatch):
    from npsoftmax.data import folder as reading

    folder = draw(tmp_path / "own")
    first = load_dataset(f"folder:{folder}")
    read, real = [], reading.read_picture
    monkeypatch.setattr(reading, "read_picture", lambda path, shape: read.append(path) or real(path, shape))
    again = load_dataset(f"folder:{folder}")
    assert not read and again.fingerprint == first.fingerprint
    Image.new("RGB", (9, 9), "white").save(folder / "red" / "0.png")
    changed = load_dataset(f"folder:{folder}")
    assert len(read) == 30 and changed.fingerprint != first.fingerprint
    for kept in (tmp_path / "cache").rglob("*.npz"):
        kept.write_bytes(b"damaged")
    assert load_dataset(f"folder:{folder}").fingerprint == changed.fingerprint


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "does not exist"),
        (lambda folder: [shutil.rmtree(folder / c) for c in COLOURS], "no folders inside"),
        (lambda folder: [shutil.rmtree(folder / c) for c in ("red", "blue")], "two or more"),
        (lambda folder: [f.unlink() for f in (folder / "red").iterdir()], "red has no images"),
        (lambda folder: (folder / "red" / "0.png").write_bytes(b"no image"), "red/0.png cannot be read as an image"),
        (lambda folder: (folder / "red" / "0.png").write_bytes(b""), "red/0.png cannot be read as an image"),
        (lambda folder: (folder / "train").mkdir(), "beside train only val and test"),
    ],
)
def test_folders_that_cannot_be_read(tmp_path, spoil, words):
    folder = draw(tmp_path / "own")
    spoil(folder)
    with pytest.raises(InputError, match=words):
        load_dataset(f"folder:{folder}")


def test_a_truncated_photograph_is_named(tmp_path):
    folder = draw(tmp_path / "own", size=(200, 200))
    whole = (folder / "red" / "1.jpg").read_bytes()
    (folder / "red" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"1\.jpg cannot be read as an image: .*truncated"):
        load_dataset(f"folder:{folder}")


def test_a_test_class_that_was_never_trained(tmp_path):
    draw(tmp_path / "own" / "train"), draw(tmp_path / "own" / "test", 2, [*COLOURS, "grey"])
    with pytest.raises(InputError, match="grey is a class that the training images do not have"):
        load_dataset(f"folder:{tmp_path / 'own'}")


# ---------------------------------------------------------------- arrays
def write(path, **arrays):
    np.savez(path, **arrays)
    return f"arrays:{path}"


X, Y = np.random.default_rng(1).integers(0, 256, (30, 6, 5, 3), dtype=np.uint8), np.arange(30) % 3


def test_arrays(tmp_path):
    found = load_dataset(write(tmp_path / "own.npz", x=X, y=Y))
    assert found.x_train.shape == (24, 6, 5, 3) and found.class_names == ("0", "1", "2")
    assert np.bincount(found.y_test).tolist() == [2, 2, 2]
    named = load_dataset(write(tmp_path / "named.npz", x=X[..., 0], y=Y, class_names=["a", "b", "c"]))
    assert named.input_shape == (6, 5, 1) and named.class_names == ("a", "b", "c")
    words = load_dataset(write(tmp_path / "words.npz", x=X, y=np.array(["cat", "dog", "ant"])[Y]))
    assert words.class_names == ("ant", "cat", "dog") and words.y_train[0] in (0, 1, 2)
    parts = load_dataset(write(tmp_path / "p.npz", x_train=X, y_train=Y, x_test=X[:4], y_test=Y[:4]))
    assert (parts.x_train == X).all() and (parts.y_test == Y[:4]).all()


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X}, "holds x, but arrays"),
        ({"x": X, "y": Y[:5]}, "30 images and y 5 labels"),
        ({"x": X / 255, "y": Y}, r"x \* 255\).round"),
        ({"x": X.astype(int) * 9, "y": Y}, "bytes lie from 0 to 255"),
        ({"x": X, "y": Y - 1}, "numbered from 0"),
        ({"x": X, "y": Y * 1.0}, "whole numbers"),
        ({"x": X, "y": np.eye(3)[Y]}, "whole numbers"),
        ({"x": X, "y": Y, "class_names": ["a", "b"]}, "one for each of 3 classes"),
        ({"x": X, "y": Y, "z": Y}, "holds z too"),
        ({"x": np.zeros((30, 3, 32, 32), np.uint8), "y": Y}, "channels first"),
        ({"x": X, "y": np.array(Y.tolist(), dtype=object)}, "Python objects"),
        ({"x": X[:2], "y": Y[:2]}, "too few"),
    ],
)
def test_arrays_that_cannot_be_read(tmp_path, arrays, words):
    with pytest.raises(InputError, match=words):
        load_dataset(write(tmp_path / "own.npz", **arrays))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x93NUMPY\x01\x00", b"x" * 1000])
def test_files_that_are_none_of_numpys(tmp_path, content):
    (tmp_path / "own.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"own\.npz"):
        load_dataset(f"arrays:{tmp_path / 'own.npz'}")


# ---------------------------------------------------------------- from a folder to predictions
OPTIONS = ["--model", "mlp", "--model-opt", "hidden=16", "--no-plots", "--quiet"]


@pytest.fixture
def colours(tmp_path):
    folder = draw(tmp_path / "colours", 20)
    options = ["--lr", "0.01", "--batch-size", "16", "--val-split", "0.2"]
    data = ["--data", f"folder:{folder}", "--image-size", "8"]
    assert main(["train", *data, "--epochs", "8", "--out", str(tmp_path / "run"), *OPTIONS, *options]) == 0
    return tmp_path / "run"


def test_from_a_folder_to_predictions(tmp_path, colours, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    assert main(["eval", str(colours), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0
    assert main(["predict", str(colours), str(tmp_path / "colours" / "red"), "--json", "--top", "2"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 20 and {row["predictions"][0]["class"] for row in rows} == {"red"}
    first, second = (guess["probability"] for guess in rows[0]["predictions"])
    assert first > second and 0.5 < first <= 1
    shutil.rmtree(tmp_path / "colours")  # predictions need no training data
    Image.new("RGB", (300, 200), COLOURS["green"]).save(tmp_path / "new.jpg")
    assert main(["predict", str(colours), str(tmp_path / "new.jpg")]) == 0
    assert "new.jpg  green" in capsys.readouterr().out


def test_data_that_has_changed_is_refused_and_data_that_has_moved_is_found(tmp_path, colours, capsys):
    (tmp_path / "colours").rename(tmp_path / "elsewhere")
    assert main(["eval", str(colours)]) == 2 and "does not exist" in said(capsys)
    assert main(["eval", str(colours), "--data-dir", str(tmp_path / "elsewhere")]) == 0
    (tmp_path / "elsewhere" / "red" / "0.png").unlink()
    capsys.readouterr()
    for command in (["eval", str(colours)], ["train", "--resume", str(colours), "--epochs", "9", *OPTIONS[-2:]]):
        assert main([*command, "--data-dir", str(tmp_path / "elsewhere")]) == 2
        assert "no more those that" in said(capsys)


def test_images_that_cannot_be_predicted(tmp_path, colours, capsys):
    (tmp_path / "empty").mkdir()
    for given, words in (("nothing.png", "no file"), ("empty", "no images"), ("run/config.toml", "cannot be read")):
        assert main(["predict", str(colours), str(tmp_path / given)]) == 2
        assert words in said(capsys)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data", "colours"], "--data folder:colours"),
        (["--data", "folder:"], "--data folder:flowers"),
        (["--data", "own.npz"], "--data arrays:own.npz"),
        (["--data", "digits", "--image-size", "8"], "--image-size would have no effect"),
        (["--data", "folder:colours", "--image-size", "0"], "from 1 to 1024"),
        (["--data", "folders:colours"], "folder:PATH"),
    ],
)
def test_what_is_typed_wrongly(tmp_path, monkeypatch, capsys, options, words):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "colours")
    assert main(["train", *options, "--epochs", "1", *OPTIONS]) == 2
    assert words in said(capsys)


# ---------------------------------------------------------------- going on
def parameters(run, name="last"):
    from npsoftmax.training.checkpoint import load_arrays

    return load_arrays(run / "checkpoints" / f"{name}.safetensors")


def test_a_run_starts_from_another(tmp_path, colours, capsys):
    start = ["train", "--from", str(colours), "--epochs", "1", "--no-plots"]
    assert main([*start, "--out", str(tmp_path / "same"), "--lr", "1e-9"]) == 0
    assert "starts from" in capsys.readouterr().out
    before, after = parameters(colours, "best"), parameters(tmp_path / "same")
    assert all(np.allclose(after[name], array, atol=1e-6) for name, array in before.items())
    assert main([*start, "--out", str(tmp_path / "other"), "--lr", "1e-9", "--head", "cosine"]) == 0
    assert "the cosine head is new" in capsys.readouterr().out
    after = parameters(tmp_path / "other")
    assert all(np.allclose(after[n], a, atol=1e-6) for n, a in before.items() if n.startswith("trunk"))
    draw(tmp_path / "two", 10, ["red", "blue"])
    new = ["--data", f"folder:{tmp_path / 'two'}", "--image-size", "8"]
    assert main([*start, *new, "--out", str(tmp_path / "two-classes")]) == 0
    assert "the softmax head is new" in capsys.readouterr().out
    assert main([*start, "--model", "convnet"]) == 2 and "fit no other model" in said(capsys)
    assert main([*start, "--data", "digits"]) == 2 and "do not fit" in said(capsys)
    assert main([*start, "--recipe", "e1/log_softmax"]) == 2 and "Leave one of them out" in said(capsys)


def test_more_epochs_are_those_of_a_longer_run(tmp_path, capsys):
    command = ["train", "--data", "digits", *OPTIONS[:-1], "--schedule", "constant", "--limit-train", "300"]
    assert main([*command, "--epochs", "2", "--out", str(tmp_path / "short")]) == 0
    assert main(["train", "--resume", str(tmp_path / "short"), "--epochs", "4", "--no-plots"]) == 0
    assert "to 4 epochs: the learning rate goes on at 3.00e-03" in capsys.readouterr().out
    assert main([*command, "--epochs", "4", "--out", str(tmp_path / "long")]) == 0
    short, long = parameters(tmp_path / "short"), parameters(tmp_path / "long")
    assert short.keys() == long.keys() and all((short[name] == long[name]).all() for name in long)
    assert main(["train", "--resume", str(tmp_path / "short"), "--epochs", "3"]) == 2
    assert "has 4 already" in said(capsys)
