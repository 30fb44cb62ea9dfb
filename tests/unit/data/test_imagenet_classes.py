import subprocess
import sys

from resnets.data import imagenet_classes


def test_there_are_a_thousand_classes_in_the_order_of_their_ids():
    wnids = imagenet_classes.wnids()
    assert len(set(wnids)) == len(wnids) == imagenet_classes.CLASSES
    assert list(wnids) == sorted(wnids)
    assert (wnids[0], wnids[-1]) == ("n01440764", "n15075141")
    assert [imagenet_classes.index_by_wnid()[wnid] for wnid in wnids] == list(range(1000))


def test_the_devkit_numbers_each_class_once_from_1_to_1000():
    label_of = imagenet_classes.index_by_devkit_id()
    assert sorted(label_of) == list(range(1, 1001))
    assert sorted(label_of.values()) == list(range(1000))


# The first of the devkit's list, and what the first twenty validation images show.
FIRST_IN_DEVKIT = (
    *("n02119789", "n02100735", "n02110185", "n02096294", "n02102040"),
    *("n02066245", "n02509815", "n02124075", "n02417914", "n02123394"),
)
TRUTH = (490, 361, 171, 822, 297, 482, 13, 704, 599, 164)
LABELS = (65, 970, 230, 809, 516, 57, 334, 415, 674, 332)


def test_the_devkits_numbers_lead_to_the_labels_everybody_uses():
    label_of = imagenet_classes.index_by_devkit_id()
    wnids = imagenet_classes.wnids()
    assert tuple(wnids[label_of[i]] for i in range(1, 11)) == FIRST_IN_DEVKIT
    assert tuple(label_of[number] for number in TRUTH) == LABELS
    assert wnids[label_of[1000]] == "n03255030"


def test_every_class_has_a_name_of_its_own():
    names = imagenet_classes.names()
    assert len(set(names)) == len(names) == 1000
    assert all(name and name == name.strip() for name in names)
    assert names[0] == "tench"
    assert names[207] == "golden retriever"
    assert names[999] == "toilet tissue"


def test_classes_that_share_their_first_word_are_told_apart():
    names, index = imagenet_classes.names(), imagenet_classes.index_by_wnid()
    assert names[index["n02012849"]] == "crane (n02012849)"
    assert names[index["n03126707"]] == "crane (n03126707)"
    assert names[index["n03710637"]] == "maillot"
    assert names[index["n03710721"]] == "maillot, tank suit"


def test_the_table_is_read_when_it_is_needed():
    code = (
        "from resnets.data import imagenet_classes as c; assert c._rows.cache_info().currsize == 0;"
        "c.names(); c.wnids(); assert c._rows.cache_info().misses == 1"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lists_of_the_classes_in_other_words_are_known_and_others_are_not():
    own = imagenet_classes.names()
    assert imagenet_classes.are(own)
    assert imagenet_classes.are(imagenet_classes.wnids())
    assert imagenet_classes.are([f"{name.split(' (')[0].title()}, other words" for name in own])
    few = [f"class {i}" if i % 100 == 0 else name for i, name in enumerate(own)]
    assert imagenet_classes.are(few)
    assert not imagenet_classes.are(own[:-1])
    assert not imagenet_classes.are(own[::-1])
    assert not imagenet_classes.are(sorted(own))
    assert not imagenet_classes.are([f"class {i}" for i in range(1000)])
