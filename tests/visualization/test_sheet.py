"""Contact sheets, legends and text."""

import cv2
import numpy as np
import pytest
from visualization_tools import grey

from mask2former_mt.visualization import contact_sheet, text_drawing, with_legend


class TestSheets:
    def test_rows_and_columns(self):
        images = [grey(10, 20), grey(30, 20), grey(10, 8), grey(10, 20), grey(6, 20)]
        # rows are as high as their highest: 30, then 10; gaps of 8 around the cells
        sheet = contact_sheet(images, 3)
        assert sheet.shape == (8 + 30 + 8 + 10 + 8, 8 + 3 * (20 + 8), 3)
        assert (sheet[8:38, 36:56] == 128).all()
        # the last place stays empty
        assert (sheet[46:56, 64:84] == 32).all()

    def test_columns_that_nothing_stands_in_are_left_out(self):
        assert contact_sheet([grey(10, 20)], 6).shape == (8 + 10 + 8, 8 + 20 + 8, 3)

    def test_cell_width_keeps_the_aspect(self):
        # 40x20 to width 10 is 10x5; 10x20 to width 10 stays 10x20 (width x height)
        sheet = contact_sheet([grey(20, 40), grey(20, 10)], 2, cell_width=10)
        assert sheet.shape == (8 + 20 + 8, 8 + 10 + 8 + 10 + 8, 3)
        assert (sheet[8:13, 8:18] == 128).all()
        assert (sheet[13:, 8:18] == 32).all()

    def test_long_title_stays_in_its_cell(self):
        sheet = contact_sheet([grey(10, 100), grey(10, 100)], 2, titles=["W" * 99, ""])
        # a title takes 2 * 18 pixels above its picture
        assert sheet.shape[0] == 8 + 36 + 10 + 8
        assert (sheet[8:44, 8:108] != 32).any()
        assert (sheet[8:44, 110:] == 32).all()

    def test_legend_below_the_picture(self):
        whole = with_legend(grey(200, 400), [((250, 0, 0), "one"), (None, "two")])
        # text of 10 + 200 // 128 = 11 pixels: a gap of 11 and a line of 14
        assert whole.shape == (225, 400, 3)
        np.testing.assert_array_equal(whole[:200], grey(200, 400))
        assert (whole[200:] == (250, 0, 0)).all(axis=2).any()

    def test_legend_wraps_and_widens_a_narrow_picture(self):
        entries = [((250, 0, 0), "the first entry"), ((0, 250, 0), "the second entry")]
        whole = with_legend(grey(20, 20), entries)
        # text of 10 pixels: two lines of 13
        assert whole.shape[0] == 20 + 10 + 2 * 13
        assert 20 < whole.shape[1] < 200
        assert (whole[:20, :20] == 128).all()

    @pytest.mark.parametrize(
        ("images", "columns", "titles", "message"),
        [
            ([], 2, None, "at least one image and one column, got 0 images"),
            ([grey(5, 5)], 0, None, "got 1 images, 0 columns"),
            ([grey(5, 5)], 1, ["a", "b"], r"one per image \(1\), got 2"),
            ([grey(5, 5)[..., 0]], 1, None, r"got uint8 \(5, 5\)"),
        ],
    )
    def test_wrong_input_is_refused(self, images, columns, titles, message):
        with pytest.raises(ValueError, match=message):
            contact_sheet(images, columns, titles=titles)


class TestText:
    def test_letters_beyond_ascii_have_their_own_shapes(self):
        # A font without them draws the same empty box for all.
        shapes = set()
        for letter in "–?éßЖ果物":
            picture = np.zeros((40, 40, 3), dtype=np.uint8)
            text_drawing.put_text(picture, letter, (5, 30), (255, 255, 255), 20)
            assert picture.any()
            shapes.add(picture.tobytes())
        assert len(shapes) == 7

    @pytest.mark.parametrize("name", ["a long class name", "ab" * 50_000], ids=["long", "huge"])
    def test_cut_keeps_as_much_as_fits(self, name):
        assert text_drawing.cut("short", 14, 60) == "short"
        shortened = text_drawing.cut(name, 14, 60)
        assert shortened.endswith("…")
        assert text_drawing.text_width(shortened, 14) <= 60
        more = name[: len(shortened)] + "…"
        assert text_drawing.text_width(more, 14) > 60

    def test_accents_are_composed_and_line_breaks_are_blanks(self):
        assert text_drawing.text_width("e\u0301", 20) == text_drawing.text_width("é", 20)
        assert text_drawing.text_width("a\nb", 20) == text_drawing.text_width("a b", 20)

    def test_opencv_without_the_font_says_so(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.delattr(cv2, "FontFace")
        text_drawing.font.cache_clear()
        with pytest.raises(ImportError, match="need OpenCV 5"):
            text_drawing.text_width("a", 14)
