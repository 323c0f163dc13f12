"""The pictures of backpropagation.md, drawn by the code of the page.

    python docs/pictures/draw.py

The picture of the adding problem takes minutes and belongs to the examples:

    python -m examples.gradients --plot examples/pictures
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["savefig.dpi"] = 150  # sharp on any screen

HERE = Path(__file__).parent
PAGE = (HERE.parent / "backpropagation.md").read_text("utf-8")

if __name__ == "__main__":
    os.chdir(HERE)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        exec(compile(block, "backpropagation.md", "exec"), names)
