"""Shapes and the style of the pictures, as SVG."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

# The card has a background of its own: it stays readable where a page does not follow the viewer's colour scheme.
STYLE = """
  text { font-family: -apple-system, "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif; fill: #1f2933; }
  .card { fill: #ffffff; stroke: #d5dbe3; }
  .panel { fill: #f5f7fa; stroke: #d5dbe3; }
  .box { fill: #e8eef7; stroke: #5b7db1; stroke-width: 1.5; }
  .pure { fill: #e3f3ea; stroke: #4a9a6f; stroke-width: 1.5; }
  .name { font-weight: 600; font-size: 17px; }
  .title { font-weight: 600; font-size: 15px; }
  .small { font-size: 13px; fill: #52606d; }
  .code { font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace; font-size: 13px; fill: #3c5a8a; }
  .line { fill: none; stroke: #7b8794; stroke-width: 1.6; }
  .head { fill: #7b8794; }
  .strong { fill: none; stroke: #5b7db1; stroke-width: 3; }
  .tip { fill: #5b7db1; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e9f0; }
    .card { fill: #14191f; stroke: #38424e; }
    .panel { fill: #1b222a; stroke: #38424e; }
    .box { fill: #22304a; stroke: #7d9fd6; }
    .pure { fill: #1c3a2b; stroke: #63b98a; }
    .small { fill: #a6b1bd; }
    .code { fill: #a9c4f0; }
    .line { stroke: #8793a1; }
    .head { fill: #8793a1; }
    .strong { stroke: #7d9fd6; }
    .tip { fill: #7d9fd6; }
  }
"""


def box(left: int, top: int, width: int, height: int, *, kind: str) -> list[str]:
    """A rectangle with round corners; `kind` is a class of the style."""
    return [f'<rect class="{kind}" x="{left}" y="{top}" width="{width}" height="{height}" rx="9"/>']


def text(x: int, y: int, content: str, kind: str, *, anchor: str = "middle") -> str:
    """A line of text at a point of its baseline."""
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}" xml:space="preserve">{escape(content)}</text>'


def strong(path: str, head: str) -> list[str]:
    """A wide arrow: its line, and the corners of its head."""
    return [f'<path class="strong" d="{path}"/>', f'<polygon class="tip" points="{head}"/>']


def svg(width: int, height: int, title: str, body: Iterable[str]) -> str:
    """A whole picture on a card of its own, with a title for screen readers."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
            f'  width="{width}" height="{height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="card" x="1" y="1" width="{width - 2}" height="{height - 2}" rx="12"/>',
            *body,
            "</svg>\n",
        ]
    )
