"""Downloads from a server on this machine: good, wrong, cut off and missing archives; mirrors; the command."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from npsoftmax.cli.main import main
from npsoftmax.data import download, editions, load_dataset
from npsoftmax.data.download import download_cifar
from npsoftmax.errors import InputError

FILES = {"train": b"training images" * 20_000, "test": b"test images" * 1000, "meta": b"names"}


def make_archive(members: dict[str, bytes], extra: list[tarfile.TarInfo] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in extra or []:
            tar.addfile(info)
    return stream.getvalue()


class Server(http.server.ThreadingHTTPServer):
    """Serves the archive at /good/, other bytes at /wrong/, half of it at /cut/, nothing elsewhere."""

    archive = b""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        kind, archive = self.path.split("/")[1], self.server.archive
        if kind not in ("good", "wrong", "cut"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(archive)))
        self.end_headers()
        self.wfile.write({"good": archive, "wrong": archive[::-1], "cut": archive[: len(archive) // 2]}[kind])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small_edition(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> editions.Edition:
    """CIFAR-100 with small files in its place, and no address but this server's."""
    members = {f"cifar-100-python/{file}": data for file, data in FILES.items()}
    return publish(server, monkeypatch, make_archive({**members, "cifar-100-python/file.txt~": b"left over"}))


def publish(server: Server, monkeypatch: pytest.MonkeyPatch, archive: bytes) -> editions.Edition:
    def md5(data: bytes) -> str:
        return hashlib.md5(data).hexdigest()

    server.archive = archive
    small = dataclasses.replace(
        editions.EDITIONS[0],
        archive_md5=md5(archive),
        train={"train": md5(FILES["train"])},
        test={"test": md5(FILES["test"])},
        names={"meta": md5(FILES["meta"])},
    )
    monkeypatch.setattr(editions, "EDITIONS", (small, *editions.EDITIONS[1:]))
    monkeypatch.setattr(download, "MIRRORS", (f"{server.url}/good/",))
    return small


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


IN_PLACE = {f"cifar-100-python/{file}": data for file, data in FILES.items()}


@pytest.mark.parametrize("progress", [False, True])
@pytest.mark.parametrize("address", ["/good", "/good/", "/good/any-name.tar.gz"])
def test_downloads_checks_and_unpacks(server: Server, tmp_path: Path, address: str, progress: bool) -> None:
    folder = download_cifar("cifar100", tmp_path / "new" / "dir", mirrors=[server.url + address], progress=progress)
    assert folder == tmp_path / "new" / "dir" / "cifar-100-python"
    assert files_in(tmp_path / "new" / "dir") == IN_PLACE  # and nothing else: no archive, no temporary folder


def test_what_is_there_is_not_downloaded_again_and_what_is_damaged_is(server: Server, tmp_path: Path) -> None:
    mirrors = [f"{server.url}/good"]
    folder = download_cifar("cifar100", tmp_path, mirrors=mirrors, progress=False)
    assert download_cifar("cifar100", tmp_path, mirrors=mirrors, progress=False) == folder
    assert download_cifar("cifar100", folder, mirrors=mirrors, progress=False) == folder  # the folder itself
    assert len(server.asked) == 1
    (folder / "test").write_bytes(b"damaged")
    (folder / "mine.txt").write_bytes(b"kept")
    download_cifar("cifar100", tmp_path, mirrors=mirrors, progress=False)
    assert files_in(tmp_path) == {**IN_PLACE, "cifar-100-python/mine.txt": b"kept"}


@pytest.mark.parametrize(("bad", "reason"), [("wrong", "MD5"), ("cut", "IncompleteRead"), ("nowhere", "404")])
def test_a_bad_address_leaves_nothing_and_says_why(server: Server, tmp_path: Path, bad: str, reason: str) -> None:
    mirrors = [f"{server.url}/{bad}"]
    with pytest.raises(InputError, match="could not be downloaded") as error:
        download_cifar("cifar100", tmp_path, mirrors=mirrors, progress=False)
    assert reason.lower() in str(error.value).lower() and mirrors[0] in str(error.value)
    assert len(server.asked) == download.ROUNDS  # it was tried again
    assert list(tmp_path.iterdir()) == []


def test_mirrors_are_tried_in_turn(server: Server, tmp_path: Path) -> None:
    mirrors = [f"{server.url}/{kind}" for kind in ("nowhere", "cut", "wrong", "good", "good")]
    mirrors.insert(0, "http://127.0.0.1:1/refused")
    download_cifar("cifar100", tmp_path, mirrors=mirrors, progress=False)
    assert [path.split("/")[1] for path in server.asked] == ["nowhere", "cut", "wrong", "good"]
    assert files_in(tmp_path) == IN_PLACE


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)127\.0\.0\.1:1.*--mirror.*--data-dir"):
        download_cifar("cifar100", tmp_path, mirrors=["http://127.0.0.1:1/"], progress=False)


def test_only_the_wanted_members_leave_the_archive(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    link = tarfile.TarInfo("cifar-100-python/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    hostile = {"../escaped": b"x", "/tmp/npsoftmax-escaped": b"x", "cifar-100-python/../../escaped": b"x"}
    members = {f"cifar-100-python/{file}": data for file, data in FILES.items()}
    publish(server, monkeypatch, make_archive({**hostile, **members, "other": b"x"}, [link]))
    target = tmp_path / "a" / "b"
    download_cifar("cifar100", target, mirrors=[f"{server.url}/good"], progress=False)
    assert files_in(tmp_path) == {f"a/b/{name}": data for name, data in IN_PLACE.items()}
    assert not Path("/tmp/npsoftmax-escaped").exists()


@pytest.mark.parametrize("kind", ["a link in its place", "missing", "other bytes", "no archive", "cut archive"])
def test_an_archive_without_the_right_files_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    members = {f"cifar-100-python/{file}": data for file, data in FILES.items() if file != "meta"}
    link = tarfile.TarInfo("cifar-100-python/meta")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = {
        "a link in its place": make_archive(members, [link]),
        "missing": make_archive(members),
        "other bytes": make_archive({**members, "cifar-100-python/meta": b"other"}),
        "no archive": b"no archive",
        "cut archive": make_archive(members)[:-20],
    }[kind]
    publish(server, monkeypatch, archive)
    with pytest.raises(
        InputError, match=r"cifar-100-python\.tar\.gz (does not hold what it should: meta|is not an arch)"
    ):
        download_cifar("cifar100", tmp_path, mirrors=[f"{server.url}/good"], progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write to .*--data-dir"):
        download_cifar("cifar100", tmp_path / "file" / "x", mirrors=[f"{server.url}/good"], progress=False)


def test_load_dataset_downloads_only_when_asked(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="npsoftmax data download cifar100"):
        load_dataset("cifar100", tmp_path)
    assert server.asked == []
    with pytest.raises(InputError, match="train"):  # downloaded and checked; but these small files hold no images
        load_dataset("cifar100", tmp_path, download=True)
    assert files_in(tmp_path) == IN_PLACE


# ---------------------------------------------------------------- the command
def test_the_command_downloads_verifies_and_lists(server: Server, tmp_path: Path, capsys) -> None:
    where = ["--data-dir", str(tmp_path)]
    assert main(["data", "verify", "cifar100", *where]) == 2
    assert "npsoftmax data download cifar100" in capsys.readouterr().err
    assert main(["data", "list", *where]) == 0
    assert "not found; type: npsoftmax data download cifar100" in capsys.readouterr().out

    assert main(["data", "download", "cifar100", *where, "--mirror", f"{server.url}/nowhere"]) == 0
    assert [path.split("/")[1] for path in server.asked] == ["nowhere", "good"]
    assert str(tmp_path / "cifar-100-python") in capsys.readouterr().out

    assert main(["data", "verify", "cifar100", *where]) == 0
    assert capsys.readouterr().out.count("md5 ok") == 3
    assert main(["data", "list", *where]) == 0
    listed = capsys.readouterr().out.splitlines()
    names = ["cifar100", "cifar100-superclasses", "cifar100-both", "cifar10", "synthetic100", "digits", "digit_sets"]
    names += ["stdlib_tokens", "folder:PATH", "arrays:FILE.npz"]
    assert [line.split()[0] for line in listed[1:]] == names
    assert listed[1].endswith(str(tmp_path / "cifar-100-python"))


def test_verify_names_every_file_that_is_wrong(server: Server, tmp_path: Path, capsys) -> None:
    folder = download_cifar("cifar100", tmp_path, mirrors=[f"{server.url}/good"], progress=False)
    (folder / "train").write_bytes(b"x")
    (folder / "meta").unlink()
    assert main(["data", "verify", "cifar100", "--data-dir", str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "test: md5 ok" in printed.out and "meta: is missing" in printed.out
    assert "train: is not the official file" in printed.out
    assert "2 of 3 files are missing or damaged: train, meta" in printed.err
    assert f"npsoftmax data download cifar100 --data-dir {tmp_path}" in printed.err


def test_unknown_names_are_answered_with_the_known_ones(capsys) -> None:
    for action in ("download", "verify"):
        assert main(["data", action, "cifar"]) == 2
        assert "Known: cifar10, cifar100" in capsys.readouterr().err
