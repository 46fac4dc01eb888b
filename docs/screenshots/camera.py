"""Pictures of pages, small enough to be kept: of 256 colours, and packed as well as can be."""

from __future__ import annotations

import asyncio
import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

# The most frequent colours stay, others become the nearest of them: those are edges of letters.
_REDUCE = """
async (picture) => {
  const bitmap = await createImageBitmap(await (await fetch(picture)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const colour = (at) => (data[at] << 16) | (data[at + 1] << 8) | data[at + 2];
  const seen = new Map();
  for (let at = 0; at < data.length; at += 4) {
    seen.set(colour(at), (seen.get(colour(at)) ?? 0) + 1);
  }
  const kept = [...seen].sort((one, other) => other[1] - one[1]).slice(0, 256).map(([it]) => it);
  const parts = (it) => [it >> 16, (it >> 8) & 255, it & 255];
  const nearest = (it) => {
    const [r, g, b] = parts(it);
    let best = [Infinity, 0];
    kept.forEach((other, place) => {
      const [x, y, z] = parts(other);
      const far = (r - x) ** 2 + (g - y) ** 2 + (b - z) ** 2;
      if (far < best[0]) best = [far, place];
    });
    return best[1];
  };
  const place = new Map([...seen.keys()].map((it) => [it, nearest(it)]));
  let pixels = "";
  for (let at = 0; at < data.length; at += 4) {
    pixels += String.fromCharCode(place.get(colour(at)));
  }
  return { width: bitmap.width, height: bitmap.height, kept, pixels: btoa(pixels) };
}
"""


async def take(page: Page, darkroom: Page, file: Path) -> None:
    """Writes what the page shows.

    Args:
        darkroom: an empty page, in which the picture is worked on.
    """
    picture = base64.b64encode(await page.screenshot(animations="disabled")).decode()
    reduced = await darkroom.evaluate(_REDUCE, f"data:image/png;base64,{picture}")
    await asyncio.to_thread(file.write_bytes, _png(reduced))


def _png(reduced: dict[str, Any]) -> bytes:
    """The picture as a PNG with a palette."""
    width, height = reduced["width"], reduced["height"]
    pixels = base64.b64decode(reduced["pixels"])
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, width * height, width))
    palette = b"".join(colour.to_bytes(3, "big") for colour in reduced["kept"])
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
