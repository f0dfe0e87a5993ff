"""Record a real run of the demo, in a folder of its own, as docs/demo.svg: `python docs/record_demo.py`."""

import contextlib
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from widedeep.export.demo.run import run_demo

picture = Path(__file__).resolve().with_name("demo.svg")
console = Console(record=True, width=100, force_terminal=False, highlight=False)
console.print("$ make demo", style="bold")
sys.argv = [".venv/bin/widedeep"]  # as make calls it; the demo names it in the commands to try next
with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
    run_demo(Path("demo"), port=8001, seed=0, fresh=True, console=console)
svg = console.export_svg(title="widedeep demo")
picture.write_text(re.sub(r"@font-face {.*?}\s*", "", svg, flags=re.DOTALL))  # a picture that fetches no fonts
