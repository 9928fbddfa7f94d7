"""Image files as pixels: orientation, transparency, depth, damage."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.base.errors import DataError
from nas.data.decoding import decode
from nas.data.settings import ImageFolder


def settings(**others: object) -> ImageFolder:
    return ImageFolder(name="image_folder", root=Path("x"), **{"image_size": 8, **others})  # type: ignore[arg-type]


def gradient() -> np.ndarray:
    """Grey 8×8 image that differs from each of its rotations and mirror images."""
    return (np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).copy()


@pytest.mark.parametrize(("tag", "upright"), [
    (1, lambda a: a), (2, np.fliplr), (3, lambda a: np.rot90(a, 2)), (4, np.flipud), (5, np.transpose),
    (6, lambda a: np.rot90(a, -1)), (7, lambda a: np.rot90(a, 2).T), (8, np.rot90),
])  # fmt: skip
def test_an_image_is_turned_upright_by_its_exif_orientation(tmp_path: Path, tag: int, upright: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = tag
    Image.fromarray(gradient()).save(tmp_path / "a.png", exif=exif)
    pixels = decode(tmp_path / "a.png", settings(channels=1)).values
    assert np.array_equal(pixels[0], upright(gradient()))  # type: ignore[operator]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB"])
@pytest.mark.parametrize(("background", "expected"), [("white", 255), ("black", 0), ("#0000FF", (0, 0, 255))])
def test_transparent_pixels_show_the_background(
    tmp_path: Path, mode: str, background: str, expected: int | tuple[int, int, int]
) -> None:
    # A black shape on transparent ground, whose hidden colour is black too: without alpha, all is 0.
    path = tmp_path / "shape.png"
    rgba = np.zeros((8, 8, 4), dtype=np.uint8)
    rgba[2:6, 2:6, 3] = 255
    if mode in ("RGBA", "LA"):
        Image.fromarray(rgba).convert(mode).save(path)
    else:
        colours = np.full((8, 8, 3), 77, dtype=np.uint8)
        colours[2:6, 2:6] = 0
        image = Image.fromarray(colours)
        if mode == "RGB":
            image.save(path, transparency=(77, 77, 77))
        else:
            indexed = image.quantize(2)
            indexed.save(path, transparency=indexed.getpixel((0, 0)))
    pixels = decode(path, settings(background=background)).values
    assert (pixels[:, 2:6, 2:6] == 0).all()
    assert pixels[:, 0, 0].tolist() == list(np.broadcast_to(expected, 3))


def test_half_transparent_pixels_are_mixed_with_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (100, 0, 0, 128)).save(tmp_path / "a.png")
    assert decode(tmp_path / "a.png", settings()).values[:, 0, 0].tolist() == [177, 127, 127]


def test_opaque_pixels_do_not_depend_on_the_background(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([gradient()] * 3 + [np.full((8, 8), 255, np.uint8)])).save(tmp_path / "a.png")
    for background in ("white", "black"):
        assert np.array_equal(decode(tmp_path / "a.png", settings(background=background)).values[0], gradient())


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_kept_as_they_are(tmp_path: Path, name: str) -> None:
    values = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(values).save(tmp_path / name)
    found = decode(tmp_path / name, settings())
    assert found.values.dtype == np.uint16
    assert found.peak == 63_000
    assert np.array_equal(found.values, np.stack([values] * 3))


def test_a_grey_map_states_its_own_range(tmp_path: Path) -> None:
    values = np.array([[0, 4095], [2048, 1000]], dtype=">u2")
    (tmp_path / "a.pgm").write_bytes(b"P5\n2 2\n4095\n" + values.tobytes())
    found = decode(tmp_path / "a.pgm", settings(image_size=4))
    assert found.peak == 65535


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


_HEAD = _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
BROKEN = {
    "crc.png": _png(_HEAD[:-1] + b"x"),
    "no_pixels.png": _png(_HEAD, _chunk(b"IEND", b"")),
    "short_header.png": _png(_chunk(b"IHDR", b"\0\0")),
    "short_chunk.png": _png(_HEAD, _chunk(b"gAMA", b"\1"), _chunk(b"IDAT", zlib.compress(b"\0" * 200))),
    "text_bomb.png": _png(_HEAD, _chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**22)), _chunk(b"IEND", b"")),
    "too_long.png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + b"IHDR",
    "bad_token.ppm": b"P6\n8 eight\n255\n",
    "too_large.ppm": b"P6\n8 99999999999\n255\n",
    "bad_value.ppm": b"P3\n1 1\n255\n999 0 0\n",
    "huge.ppm": b"P6\n99999 99999\n255\n" + b"\0" * 100,
    "empty.gif": b"GIF89a",
    "short.tif": b"II*\0\x08\0\0\0\xff\xff",
    "short.bmp": b"BM" + b"\0" * 12,
    "short.webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "plain.qoi": b"qoif" + b"\0" * 10,
    "plain.psd": b"8BPS\0\1",
    "float.pfm": b"Pf\n1 1\n-1.0\n" + b"\0" * 4,
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_whatever_a_decoder_raises_names_the_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(DataError, match=rf"{name} cannot be read as an image \(.+\); repair or remove it"):
        decode(tmp_path / name, settings())


@pytest.mark.parametrize("error", [SyntaxError("x"), struct.error(), ValueError("x"), EOFError(), IndexError("x")])
def test_no_kind_of_error_passes_without_the_name_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(DataError, match=r"b\.png cannot be read"):
        decode(tmp_path / "b.png", settings())
