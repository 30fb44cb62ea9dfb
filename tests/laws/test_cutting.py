"""Whatever is drawn, whatever the image's size: a box inside it, with the reference's pixels."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data import cutting, images, jpeg
from resnets.data.crops import ResizedCut, ScaleCut
from samples import photo, saved

quick = settings(deadline=None, max_examples=60)
sides = st.integers(1, 5000)
fractions = st.floats(0, 1 - 2**-32)
tries = st.lists(st.tuples(st.floats(0.001, 1), st.floats(0.01, 100)), min_size=1, max_size=10).map(
    tuple
)
resized = st.builds(ResizedCut, tries, st.just((3 / 4, 4 / 3)), fractions, fractions, st.booleans())
crops_of = st.integers(1, 300).flatmap(
    lambda crop: st.builds(
        ScaleCut, st.integers(crop, 600), st.just(crop), fractions, fractions, st.booleans()
    )
)


@settings(deadline=None, max_examples=300)
@given(st.one_of(resized, crops_of), sides, sides)
def test_a_box_is_inside_the_image_and_not_empty(cut, width, height):
    left, top, right, bottom = cut.box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


@quick
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([0, 1, 2]),
    st.integers(0, 3),
    st.integers(1, 40),
    resized,
)
def test_a_box_of_a_jpeg_file_has_the_pixels_of_the_whole_image_decoded(
    width, height, sampling, restarts, least_px, cut
):
    image = photo(width, height, seed=width, cell_px=7)
    content = saved(image, subsampling=sampling, restart_marker_rows=restarts)
    laid, box = jpeg.layout(content), cut.box(width, height)
    pixels, (left, top, right, bottom) = jpeg.decode(content, laid, box, least_px)
    assert 0 <= left < right <= pixels.shape[1]
    assert 0 <= top < bottom <= pixels.shape[0]
    if min(box[2] - box[0], box[3] - box[1]) < 2 * least_px:
        expected = np.asarray(images.decode(content, "x"))[box[1] : box[3], box[0] : box[2]]
        assert np.array_equal(pixels[top:bottom, left:right], expected)


@quick
@given(st.binary(max_size=60), st.integers(0, 2000), resized)
def test_damage_gives_pixels_or_the_error_of_the_reference_and_nothing_else(junk, at, cut):
    content = saved(photo(70, 50))
    damaged = content[:at] + junk + content[at + len(junk) :]
    try:
        images.decode(damaged, "x")
    except images.ImageError:
        readable = False
    else:
        readable = True
    try:
        made = cutting.cut(damaged, "x", cut.box, 16)
    except images.ImageError:
        assert not readable
    else:
        assert (made.shape, made.dtype) == ((16, 16, 3), np.uint8)
