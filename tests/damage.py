"""What several laws do to a file before it is read."""

from hypothesis import strategies as st


@st.composite
def damaged(draw, content):
    """Some bytes changed, cut out, put in or repeated."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        length = draw(st.integers(0, 8))
        found[at : at + length] = draw(st.binary(max_size=8))
    if draw(st.booleans()):
        del found[draw(st.integers(0, len(found))) :]
    return bytes(found)
