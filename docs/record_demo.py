"""Record a real run of the demo as docs/demo.svg: `python docs/record_demo.py [OUTPUT_FOLDER]`."""

import sys
from pathlib import Path

from rich.console import Console
from widedeep.export.demo.run import run_demo

console = Console(record=True, width=100, force_terminal=False, highlight=False)
console.print("$ make demo", style="bold")
output = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
run_demo(output, port=8001, seed=0, fresh=True, console=console)
console.save_svg(str(Path(__file__).with_name("demo.svg")), title="widedeep demo")
