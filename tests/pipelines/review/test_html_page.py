"""Pages as one file that opens from disk."""

from pathlib import Path

import pytest

from pipelines.review.html_page import render


class TestRender:
    def test_script_and_style_are_in_the_page_itself(self, tmp_path: Path) -> None:
        template = tmp_path / "page.html"
        template.write_text("<style>/* page.css */</style><script>/* page.js */\nstore</script>")
        page = render(template).decode()
        assert "function storage(" in page
        assert "--ink:" in page
        assert "/* page." not in page

    @pytest.mark.parametrize("script", ["", "/* page.js *//* page.js */"])
    def test_a_template_that_misses_the_line_is_refused(self, tmp_path: Path, script: str) -> None:
        template = tmp_path / "page.html"
        template.write_text(f"/* page.css */{script}")
        with pytest.raises(ValueError, match=r"page\.js"):
            render(template)

    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path) -> None:
        template = tmp_path / "page.html"
        template.write_text("/* page.css *//* page.js */<!-- nothing.html -->")
        with pytest.raises(ValueError, match=r"nothing\.html"):
            render(template)
