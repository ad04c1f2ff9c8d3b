"""Files of pictures as people have them: folders of frames, animations, and one that is far too large."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image


def pictures(folder: Path, names: list[str], size: tuple[int, int] = (32, 24)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", size, (9 * i, 80, 120)).save(folder / name)
    return folder


def gifs(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        frames = [Image.new("RGB", (32, 24), (40 * i, 10 * k, 90)) for k in range(4)]
        content = io.BytesIO()
        frames[0].save(content, "GIF", save_all=True, append_images=frames[1:], duration=100)
        (folder / name).write_bytes(content.getvalue())  # decoded by content, whatever the suffix says


def bomb(side: int) -> bytes:
    """A PNG of black pixels whose file is small."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
