"""What tests of pages read them with: that they are whole, load nothing, and can be used by all."""

import itertools
import re
from html.parser import HTMLParser

VOID = {"br", "img", "link", "meta"}


class Page(HTMLParser):
    """A parsed page; every element must be closed in its turn."""

    def __init__(self, content):
        super().__init__()
        self.raw = content.decode()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(self.raw)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).replace("\u00a0", " ").split())

    def all(self, tag, name):
        return [given.get(name) for each, given in self.attributes if each == tag]

    def section(self, name):
        """The text of a section, roughly: from its beginning to the next one's."""
        part = self.raw.partition(f'id="{name}"')[2].partition("<section")[0]
        return " ".join(re.sub(r"<[^>]*>", " ", part).replace("\u00a0", " ").split())


def read(path):
    page = Page(path if isinstance(path, bytes) else path.read_bytes())
    check_self_contained(page)
    check_accessible(page)
    return page


def check_self_contained(page):
    assert "script" not in page.tags
    assert not {"link", "iframe", "object", "embed", "form", "base"} & set(page.tags)
    assert all(src.startswith("data:image/jpeg;base64,") for src in page.all("img", "src"))
    assert all(href.startswith("#") for href in page.all("a", "href"))
    given = [each for _, named in page.attributes for each in named]
    assert not [each for each in given if each.startswith("on") or each in ("srcset", "xlink:href")]
    assert "http://" not in page.raw
    assert "https://" not in page.raw
    assert "url(" not in page.raw
    assert "@import" not in page.raw
    assert len(page.raw) < 3_000_000


def check_accessible(page):
    assert page.tags.count("h1") == 1
    headings = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(headings))
    assert all(page.all("img", "alt"))
    assert all(page.all("th", "scope"))
    ids = [named["id"] for _, named in page.attributes if "id" in named]
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.all("a", "href")} <= set(ids)
    for _, named in page.attributes:
        assert named.get("aria-labelledby", ids[0]) in ids
        assert named.get("role") != "img" or named["aria-label"]
