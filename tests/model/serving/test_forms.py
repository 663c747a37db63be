import pytest

from model.serving.forms import FormError, Part, form_parts

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="text"\r\n\r\nleft lung\r\n'
    b'--b\r\nContent-Disposition: form-data; name="pet"; filename="a.nii"\r\nContent-Type: application/octet-stream\r\n'
    b"\r\n\x00\r\n--bogus\n\r\r\n\r\n--b--\r\n"
)
KIND = "multipart/form-data; boundary=b"


class TestFormParts:
    def test_contents_are_kept_to_the_byte(self):
        parts = form_parts(BODY, KIND)
        assert parts == [Part("text", b"left lung"), Part("pet", b"\x00\r\n--bogus\n\r\r\n", "a.nii")]

    @pytest.mark.parametrize(
        ("body", "kind", "words"),
        [
            (BODY, "multipart/form-data", "boundary"),
            (BODY[:-6], KIND, "cut short"),
            (b"", KIND, "cut short"),
            (b"--b\r\nno headers--b\r\n--b--", KIND, "part without"),
            (b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--", KIND, "name"),
        ],
    )
    def test_a_body_that_is_no_form_is_an_error(self, body, kind, words):
        with pytest.raises(FormError, match=words):
            form_parts(body, kind)
