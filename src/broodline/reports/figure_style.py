"""The colours and the style of figures, which the examples share; it imports no plotting library."""

from __future__ import annotations

from typing import Any

# Okabe and Ito's colours differ for all kinds of colour vision; their yellow is left out, as it is too pale on white.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
SKY_BLUE, ORANGE, BLACK = "#56B4E9", "#E69F00", "#000000"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, SKY_BLUE, ORANGE, BLACK)

# For `matplotlib.rc_context`.
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.labelcolor": "#222222",
    "lines.linewidth": 1.8,
    "svg.hashsalt": "broodline",  # a fixed salt: the same studies make the same file
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
