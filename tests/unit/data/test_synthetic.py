import torch

from resnets.data import synthetic


def test_the_synthetic_set_is_the_same_every_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        first = synthetic.make()
        torch.manual_seed(2)
        assert synthetic.make().digest == first.digest


def test_the_synthetic_set_has_as_many_images_of_each_class_and_none_twice():
    made = synthetic.make()
    found = made.check()
    assert (found.images("train"), found.images("test")) == (256, 64)
    assert found.summary()["classes"] == 4
    assert found.findings == ()
    assert made.train.labels_n.bincount().tolist() == [64] * 4
    assert made.test.labels_n.bincount().tolist() == [16] * 4
    assert made.train.images_nhwc.shape == (256, 32, 32, 3)
    assert made.train.images_nhwc.dtype == torch.uint8


def test_the_colour_of_a_synthetic_image_is_its_class():
    made = synthetic.make()
    for split in (made.train, made.test):
        means = split.images_nhwc.double().mean(dim=(1, 2))
        brightest = means.argmax(1)
        brightest[means.max(1).values - means.min(1).values < 45] = 3  # half of what is added
        assert torch.equal(brightest, split.labels_n)
        assert [made.classes[i] for i in (0, 1, 2, 3)] == ["red", "green", "blue", "dark"]
