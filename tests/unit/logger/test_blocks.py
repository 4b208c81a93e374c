"""Compressed logs are ordinary gzip files, and can be read from any place."""

import gzip
import os
import random
from pathlib import Path

import pytest

from dadmsd.logger import blocks


def compressed(directory: Path, text: bytes) -> Path:
    plain, packed = directory / "plain", directory / "packed.gz"
    plain.write_bytes(text)
    source, target = os.open(plain, os.O_RDONLY), os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    blocks.compress(source, target)
    os.close(source)
    os.close(target)
    return packed


def text_of(size: int) -> bytes:
    chance = random.Random(7)
    words = b" ".join(str(chance.random()).encode() for _ in range(size // 18))
    return words[:size]


@pytest.mark.parametrize("size", [1, blocks.BLOCK, 3 * blocks.BLOCK + 17])
def test_any_reader_of_gzip_reads_them(tmp_path: Path, size: int) -> None:
    text = text_of(size) or b"x"
    packed = compressed(tmp_path, text)
    assert gzip.decompress(packed.read_bytes()) == text
    assert packed.stat().st_size < size or size == 1


def test_they_are_read_from_any_place_up_to_the_end_of_a_block(tmp_path: Path) -> None:
    text = text_of(3 * blocks.BLOCK + 1000)
    fd = os.open(compressed(tmp_path, text), os.O_RDONLY)
    for place in (0, 1, blocks.BLOCK - 1, blocks.BLOCK, 2 * blocks.BLOCK + 5, len(text) - 1):
        end = min(len(text), (place // blocks.BLOCK + 1) * blocks.BLOCK)
        assert blocks.read(fd, place, 1 << 30) == text[place:end]
        assert blocks.read(fd, place, 10) == text[place : place + 10][: end - place]
    assert blocks.read(fd, len(text), 10) == b""
    os.close(fd)


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign"])
def test_a_damaged_file_is_told(tmp_path: Path, damage: str) -> None:
    packed = compressed(tmp_path, text_of(20_000))
    content = bytearray(packed.read_bytes())
    if damage == "cut":
        del content[-100:]
    elif damage == "changed":
        content[len(content) // 2] ^= 0xFF
    else:
        content = bytearray(gzip.compress(b"somebody else's"))
    packed.write_bytes(content)
    fd = os.open(packed, os.O_RDONLY)
    with pytest.raises(ValueError, match=r"."):
        blocks.read(fd, 10, 100)
    os.close(fd)
