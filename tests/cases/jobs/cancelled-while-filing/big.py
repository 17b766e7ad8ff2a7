import os
import sys
from pathlib import Path

output = Path("output")
output.mkdir(exist_ok=True)
block = os.urandom(1 << 20)
with (output / "big.txt").open("wb") as file:
    for _ in range(int(sys.argv[1])):
        file.write(block)
(output / "z_small.txt").write_text(sys.argv[2])
