"""Pages from templates."""

import jinja2
import numpy as np
import pytest

from mask2former_mt.visualization.pages import encode_jpeg, figure, printable, render


def test_a_value_that_the_page_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        render("page.html")


def test_names_are_shown_as_they_are():
    page = render("page.html", title="<b>&\x1b\ud800 猫").decode()
    assert page.count("&lt;b&gt;&amp;\\x1b\\ud800 猫") == 2  # title and heading


def test_printable():
    assert printable("a\x1b\ud800\n猫") == "a\\x1b\\ud800\n猫"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.125, "0.12"), (3, "3"), (float("nan"), "-"), ("a", "a")]
)
def test_figure(value, shown):
    assert figure(value) == shown


def test_jpeg_is_reduced_to_the_longer_side():
    # 100 x 40 to a longer side of 50: 50 x 20
    jpeg = encode_jpeg(np.zeros((40, 100, 3), dtype=np.uint8), 50)
    size = jpeg[jpeg.index(b"\xff\xc0") + 5 :][:4]  # height and width in the frame's header
    assert size == bytes([0, 20, 0, 50])
