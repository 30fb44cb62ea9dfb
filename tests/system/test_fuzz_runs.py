"""Whatever became of a run's files, the answer is a run or one line, never a traceback."""

import copy
import json
import shutil

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resnets.core import artifacts
from resnets.core.errors import ResNetsError
from resnets.experiment import asking, manifests, run
from resnets.inference import checkpoints
from resnets.recipes import codec

fuzz = settings(
    deadline=None,
    max_examples=25,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
BYTES = st.lists(
    st.tuples(
        st.sampled_from(["change", "remove", "insert", "cut"]),
        st.integers(0, 10**9),
        st.binary(min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=4,
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 1, 2, 1.5, 10**400, 1e308, float("nan"), float("inf")])
    | st.sampled_from(
        ["", "1", "auto", "float32", "cpu", "cuda:9", "none", "A\ud800", "\0", "~x/y"]
    )
    | st.text(max_size=5)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def damaged(content, mutations):
    """Return bytes with a few of them changed, removed, inserted or cut off."""
    for kind, where, new in mutations:
        at = where % (len(content) + 1)
        if kind == "cut":
            content = content[:at]
        else:
            after = at if kind == "insert" else at + len(new)
            content = content[:at] + (b"" if kind == "remove" else new) + content[after:]
    return content


def paths_in(value, path=()):
    """Yield the path of everything inside a JSON value."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inside:
        yield (*path, key)
        yield from paths_in(each, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


@pytest.fixture(scope="module")
def original(stopped):
    """The run's bytes by file, which every example starts from."""
    return {
        path.relative_to(stopped): path.read_bytes()
        for path in stopped.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def folder(stopped, tmp_path):
    return shutil.copytree(stopped, tmp_path / "run")


@pytest.fixture
def restore(folder, original):
    """Put the run back as it was stopped."""

    def restore():
        shutil.rmtree(folder)
        for path, content in original.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)

    return restore


def small(manifest):
    """Tell whether what a mutated manifest asks for takes no time."""
    recipe = codec.from_tree(manifest["recipe"])
    stages = recipe.model.stages
    return (
        recipe.total_steps <= 4
        and recipe.batch_images <= 16
        and sum(stage.blocks for stage in stages) <= 6
        and max(stage.width for stage in stages) <= 64
        and max(recipe.model.stem.width, recipe.model.stem.kernel) <= 64
        and recipe.model.classes <= 100
        and int(manifest["runtime"]["threads"]) <= 4
        and manifest["runtime"]["compilation"]["value"] != "compiled"
        and manifest["data"]["where"] != "cifar10"
    )


def resume(folder):
    """Read a run and continue it; return it, or None where that was refused in one line."""
    try:
        if not small(manifests.read(folder)):
            return None
        return asking.resume(folder, None, None, asking.Changes())
    except ResNetsError:
        return None


@fuzz
@given(mutations=BYTES)
def test_a_manifest_of_damaged_bytes_is_refused_in_one_line(mutations, folder, restore):
    restore()
    path = folder / checkpoints.MANIFEST
    path.write_bytes(damaged(path.read_bytes(), mutations))
    resume(folder)


@fuzz
@given(data=st.data())
def test_a_manifest_without_a_key_is_refused_in_one_line(data, folder, restore):
    restore()
    path = folder / checkpoints.MANIFEST
    manifest = json.loads(path.read_bytes())
    drop = data.draw(st.sampled_from(list(paths_in(manifest))), label="dropped")
    del at(manifest, drop[:-1])[drop[-1]]
    path.write_text(json.dumps(manifest))
    resume(folder)


@settings(fuzz, max_examples=80)
@given(data=st.data())
def test_a_manifest_with_a_changed_value_is_refused_in_one_line(data, folder, restore):
    restore()
    path = folder / checkpoints.MANIFEST
    manifest = json.loads(path.read_bytes())
    changed = data.draw(st.sampled_from(list(paths_in(manifest))), label="changed")
    value = data.draw(VALUES, label="to")
    at(manifest, changed[:-1])[changed[-1]] = copy.deepcopy(value)
    path.write_text(json.dumps(manifest))
    resume(folder)


# Each would be trained on, wrongly, or end in a traceback if a reader trusted it.
EDITED = {
    "format": [None, "1", float("inf"), 2, 0],
    "seed": [7, True, None],
    "classes": [["red"], {}, ["green", "red", "blue", "dark"]],
    "recipe_digest": [None, "0" * 12],
    "recipe.total_steps": [1, 2, 4],
    "recipe.precision": ["auto", "bfloat16"],
    "recipe.optim.momentum": [0.5],
    "recipe.model.stem.width": [8],
    "recipe.model.stages.0.stride": [10**19],
    "recipe.data.name": ["cifar10"],
    "runtime.threads": ["1", True, 1.5, 0, float("inf")],
    "runtime.device": ["abacus", None],
    "runtime.precision": [None, {}, {"value": "float32"}],
    "runtime.compilation": [None, {}, {"value": "sometimes", "reason": ""}],
    "hardware": [None, {}],
    "provenance": [None],
    "data.where": ["~nobody-here/x", "\0", "x" * 5000, None],
    "data.digest": ["0" * 64],
}


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, values in EDITED.items() for value in values]
)
def test_a_manifest_that_was_edited_is_refused_in_one_line(path, value, folder):
    file = folder / checkpoints.MANIFEST
    manifest = json.loads(file.read_bytes())
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    at(manifest, parents)[last] = value
    file.write_text(json.dumps(manifest))
    with pytest.raises(ResNetsError):
        asking.resume(folder, None, None, asking.Changes())


def test_a_manifest_of_a_million_threads_is_refused_in_one_line(folder, ask_process):
    file = folder / checkpoints.MANIFEST
    manifest = json.loads(file.read_bytes())
    manifest["runtime"]["threads"] = 10**6
    file.write_text(json.dumps(manifest))
    answer = ask_process("train", "--resume", folder)  # torch would end this process
    assert answer.status == 2
    assert answer.err.count("\n") == 1
    assert "checksum" in answer.err


@pytest.mark.parametrize("depth", [500, 900, 3000, 100_000])
@pytest.mark.parametrize("key", [None, "recipe", "classes", "runtime", "data", "provenance"])
def test_a_manifest_nested_deep_is_refused_in_one_line(depth, key, folder):
    path = folder / checkpoints.MANIFEST
    deep = "[" * depth + "]" * depth
    manifest = json.loads(path.read_bytes())
    if key is not None:
        manifest[key] = "@"
        deep = json.dumps(manifest).replace('"@"', deep)
    path.write_text(deep)
    if key != "provenance":
        with pytest.raises(ResNetsError):
            asking.resume(folder, None, None, asking.Changes())
    else:
        resume(folder)


@fuzz
@given(mutations=BYTES)
@example(mutations=[("cut", 0, b"x"), ("insert", 0, b"[]\n")])
@example(mutations=[("cut", 0, b"x"), ("insert", 0, b"\xff\n")])
def test_a_journal_of_damaged_bytes_is_refused_in_one_line(mutations, folder, restore):
    restore()
    path = folder / run.JOURNAL
    path.write_bytes(damaged(path.read_bytes() * 3, mutations))
    try:
        records = artifacts.read_lines(path)
    except ResNetsError:
        pass
    else:
        assert all(isinstance(record, dict) for record in records)
    resume(folder)


@fuzz
@given(records=st.lists(st.dictionaries(st.sampled_from(["update", "loss"]), VALUES), max_size=3))
def test_a_journal_of_other_values_is_refused_in_one_line(records, folder, restore):
    restore()
    (folder / run.JOURNAL).write_text("".join(json.dumps(each) + "\n" for each in records))
    resume(folder)


@fuzz
@given(mutations=BYTES)
@example(mutations=[("cut", 0, b"x")])
@example(mutations=[("change", 0, b"\xff\xff\xff")])
def test_a_damaged_checkpoint_is_never_taken_for_a_good_one(mutations, folder, restore):
    restore()
    older, newest = sorted((folder / run.STATES).iterdir())
    good = {path.name: checkpoints.read(path) for path in (older, newest)}
    newest.write_bytes(damaged(newest.read_bytes(), mutations))
    found = checkpoints.newest(folder)
    same = good[found.path.name]
    assert found.about == same.about
    assert found.weights_sha256 == same.weights_sha256
    assert artifacts.sha256_of(found.optimizer) == artifacts.sha256_of(same.optimizer)


@settings(fuzz, max_examples=10)
@given(mutations=BYTES)
def test_a_run_with_a_damaged_checkpoint_ends_in_the_same_bits(
    mutations, folder, restore, finished_bits
):
    restore()
    newest = max((folder / run.STATES).iterdir())
    newest.write_bytes(damaged(newest.read_bytes(), mutations))
    assert resume(folder) is not None
    assert checkpoints.newest(folder).weights_sha256 == finished_bits


@pytest.fixture(scope="module")
def finished_bits(stopped, tmp_path_factory):
    folder = shutil.copytree(stopped, tmp_path_factory.mktemp("runs") / "run")
    asking.resume(folder, None, None, asking.Changes())
    return checkpoints.newest(folder).weights_sha256
