"""What holds everywhere: docstrings, sources, names, sizes, and pages that speak of real things."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import resnets
from resnets.cli.main import app
from resnets.detection.faster_rcnn import FasterRCNN
from resnets.detection.localizer import Localizer
from resnets.models.network import ResNet
from resnets.recipes import catalogue

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "resnets"
FILES = sorted(SRC.rglob("*.py"))
MODULES = [path.relative_to(SRC).as_posix() for path in FILES]
# What a reader may type from; the log and the changelog tell of commands that were.
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))
    if path.name not in ("lab-log.md", "CHANGELOG.md")
)
LONGEST_LINES = 500
VAGUE = {"utils", "util", "misc", "common", "helpers", "helper", "base", "manager"}
JUDGES = {"torchvision", "timm", "pycocotools"}


@pytest.fixture(params=MODULES)
def tree(request):
    return ast.parse((SRC / request.param).read_text(encoding="utf-8"))


def public(node, within=""):
    """Yield the public classes, functions and methods of a module by name; not what they nest."""
    for each in node.body:
        if isinstance(each, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not each.name.startswith("_") and each.name != "forward":
                yield within + each.name, each
            if isinstance(each, ast.ClassDef) and not each.name.startswith("_"):
                yield from public(each, f"{within}{each.name}.")


def docstrings(tree):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(tree):
        if isinstance(node, kinds) and (text := ast.get_docstring(node)):
            yield text


def imported(tree):
    """Yield the top-level name of everything a module imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_there_is_something_to_look_at():
    assert len(MODULES) > 30
    assert "models/blocks.py" in MODULES
    blocks = ast.parse((SRC / "models/blocks.py").read_text())
    assert "Residual" in dict(public(blocks))


def test_every_public_name_has_a_docstring(tree, request):
    module = request.node.callspec.params["tree"]
    bare = [name for name, node in public(tree) if not ast.get_docstring(node)]
    if not module.endswith("__init__.py") and not ast.get_docstring(tree):
        bare.append(module)
    assert bare == []


# `Source: He et al. 2015, sec. 4.2, Table 6`: one or more works, each a name and a year and then
# where in it, or an address; then perhaps a remark.
WORK = r"[A-Z][\w-]+(?:, [A-Z][\w-]+)*(?: et al\.)? (?:1[89]|20)\d\d[a-z]?"
PLACE = (
    r"(?:sec\.|eq\.|Fig\.|Table|Tables|appendix|p\.) ?[\dA-Z(][\w.()]*(?: (?:and|to) [\w.()]+)?"
    r"(?:, (?:left|right))?"
)
ADDRESS = r"https://[^\s,;]*[^\s,;.:]"
CITED = rf"{WORK}(?:[,;] (?:{PLACE}|{ADDRESS}))*"
REMARK = r"(?:[,:;] [a-z].*|, [A-Z][\w-]+, .*)?"
SOURCE = re.compile(rf"(?:{CITED}(?:; {CITED})*|{ADDRESS}){REMARK}\.?", re.DOTALL)


def sources(text):
    """Yield what follows each `Source:` of a docstring, to the end of its paragraph."""
    for found in re.finditer(r"^Source: (.*?)(?:\n\s*\n|\Z)", text, re.DOTALL | re.MULTILINE):
        yield " ".join(found[1].split())


def test_every_source_can_be_looked_up(tree):
    texts = list(docstrings(tree))
    found = [source for text in texts for source in sources(text)]
    assert len(found) == sum(text.count("Source:") for text in texts)
    assert [source for source in found if not SOURCE.fullmatch(source)] == []


@pytest.mark.parametrize(
    ("source", "good"),
    [
        ("He et al. 2015, sec. 3.3, Table 1; sec. 4.2.", True),
        ("He et al. 2015, eq. (1) and (2), Fig. 2; Srivastava et al. 2015, eq. (3).", True),
        ("Wilson 1927, the score interval of a proportion.", True),
        ("https://www.cs.toronto.edu/~kriz/cifar.html", True),
        ("Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html", True),
        ("the paper", False),
        ("He et al., sec. 3.3", False),
        ("sec. 3.3", False),
        ("He et al. 2015 sec. 3.3", False),
        ("", False),
    ],
)
def test_the_grammar_of_sources_tells_good_from_bad(source, good):
    assert bool(SOURCE.fullmatch(source)) is good


def test_most_of_the_sources_are_the_paper():
    found = [
        source
        for path in FILES
        for text in docstrings(ast.parse(path.read_text(encoding="utf-8")))
        for source in sources(text)
    ]
    assert len(found) >= 15
    assert sum(source.startswith("He et al. 2015") for source in found) >= 12


def test_no_name_of_a_module_is_vague():
    parts = {part for module in MODULES for part in Path(module).with_suffix("").parts}
    assert not parts & VAGUE


def test_no_file_is_longer_than_can_be_read():
    lengths = {
        module: len((SRC / module).read_text(encoding="utf-8").splitlines()) for module in MODULES
    }
    assert {module: n for module, n in lengths.items() if n > LONGEST_LINES} == {}


def test_the_judges_are_never_imported(tree):
    assert not set(imported(tree)) & JUDGES


def test_the_facade_exports_what_it_defines():
    tree = ast.parse((SRC / "__init__.py").read_text(encoding="utf-8"))
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert sorted(resnets.__all__) == sorted(n for n in defined if not n.startswith("_"))


def test_importing_the_package_imports_nothing_else_of_weight():
    code = "import resnets, sys; print(*sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    modules = {name.split(".")[0] for name in ran.stdout.split()}
    assert "resnets" in modules
    assert not modules & {"torch", "numpy", "pydantic", "matplotlib", "PIL", "typer", "safetensors"}


@pytest.mark.parametrize("name", catalogue.CLASSIFIERS)
def test_every_recipe_builds_on_the_meta_device(name):
    spec = catalogue.CLASSIFIERS[name].model
    with torch.device("meta"):
        network = ResNet(spec)
        scores = network.eval()(torch.empty(2, 3, spec.image_px, spec.image_px))
    assert scores.shape == (2, spec.classes)
    assert sum(p.numel() for p in network.parameters()) > 10_000


@pytest.mark.parametrize("name", catalogue.DETECTORS)
def test_every_recipe_of_a_detector_builds_on_the_meta_device(name):
    spec = catalogue.DETECTORS[name].model
    with torch.device("meta"):
        detector = FasterRCNN(spec).eval()
        map_1chw = detector.shared(torch.empty(1, 3, 320, 480))
        proposed = detector.propose(map_1chw)
    assert map_1chw.shape[2:] == (20, 30)
    assert proposed.logits_n.shape == (20 * 30 * len(spec.anchors),)


@pytest.mark.parametrize("name", catalogue.LOCALIZERS)
def test_every_recipe_of_a_localizer_builds_on_the_meta_device(name):
    recipe = catalogue.LOCALIZERS[name]
    px = recipe.data.view.crop_px
    with torch.device("meta"):
        localizer = Localizer(recipe.model).eval()
        classes_ng = torch.zeros(2, 5, dtype=torch.int64)
        said = localizer(torch.empty(2, 3, px, px), classes_ng)
    cells = len(recipe.model.anchors)
    assert said.logits_ngyxa.shape == (2, 5, px // 16, px // 16, cells)


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


FOLDERS = ("src/", "tests/", "bench/", "scripts/", "results/", "docs/")


def quoted(text):
    return [one for one in re.findall(r"`([^`\n]+)`", text) if " " not in one]


def paths_in(text):
    return [one for one in quoted(text) if one.startswith(FOLDERS)]


def resolves(symbol):
    """Tell whether a dotted name leads from a module to something in it."""
    parts = symbol.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


def test_the_tour_leads_to_files():
    paths = paths_in(read("docs/tour.md"))
    assert len({path for path in paths if path.endswith(".py")}) >= 7
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_paper_map_leads_to_symbols_and_files():
    rows = [line for line in read("docs/paper-map.md").splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 15
    names = quoted("\n".join(rows))
    symbols = [name for name in names if name.startswith("resnets.")]
    assert len(symbols) >= 15
    assert [symbol for symbol in symbols if not resolves(symbol)] == []
    assert [path for path in paths_in("\n".join(rows)) if not (ROOT / path).exists()] == []
    assert [row for row in rows if not re.search(r"`resnets\.[^`]+`.*`tests/[^`]+`", row)] == []


@pytest.mark.parametrize(
    ("symbol", "there"),
    [
        ("resnets.models.zoo.TABLE_1", True),
        ("resnets.models.blocks.Residual", True),
        ("resnets.models.blocks.Residual.forward", True),
        ("resnets.models.cost", True),
        ("resnets.models.zoo.TABLE_7", False),
        ("resnets.models.blocks.Residual.backward", False),
        ("resnets.nothing.here", False),
    ],
)
def test_a_symbol_that_is_not_there_does_not_resolve(symbol, there):
    assert resolves(symbol) is there


def commands_in(text):
    """Yield the words of the commands in a page's code: blocks, fenced or indented, and quotes."""
    lines = [line.strip() for line in re.findall(r"^(?: {4}|\t)(.*)$", text, re.MULTILINE)]
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines += block.splitlines()
    lines += re.findall(r"`([^`\n]+)`", text)
    for line in lines:
        for command in re.split(r"\s*(?:&&|;|\|)\s*", line.removeprefix("$ ")):
            if re.match(r"(?:\S*/)?(?:resnets|make) ", command):
                yield command.split("#")[0].split()


def known(command):
    """Tell whether the words begin with a subcommand, and its flags exist; or a make target."""
    tool, *words = command
    if tool.endswith("make"):
        targets = re.findall(r"^([a-z0-9-]+):", read("Makefile"), re.MULTILINE)
        return all(word in targets for word in words if "=" not in word)
    here = importlib.import_module("typer.main").get_command(app)
    while words and words[0] in getattr(here, "commands", {}):
        here = here.commands[words.pop(0)]
    if hasattr(here, "commands"):
        return words in (["--help"], ["-h"])
    flags = {"--help", "-h", "--debug", *(name for option in here.params for name in option.opts)}
    return {word.split("=")[0] for word in words if word.startswith("--")} <= flags


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_exist(page):
    assert [" ".join(words) for words in commands_in(read(page)) if not known(words)] == []


def test_the_readme_shows_commands():
    shown = [words[:2] for words in commands_in(read("README.md"))]
    assert len(shown) >= 4
    assert ["make", "train"] in shown


@pytest.mark.parametrize(
    ("command", "there"),
    [
        ("resnets train sample.resnet20 --out x", True),
        ("resnets data check cifar10", True),
        ("resnets --help", True),
        (".venv/bin/resnets list models --json", True),
        ("make train RUN=x", True),
        ("resnets trian", False),
        ("resnets data chekc x", False),
        ("resnets train --learning-rate 1", False),
        ("make tests", False),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command, there):
    ((*words,),) = commands_in(f"    {command}\n")
    assert known(words) is there
