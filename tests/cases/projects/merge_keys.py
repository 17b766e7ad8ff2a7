"""Print a small project file whose merge keys cost the cube of their number."""

import sys

count = int(sys.argv[1])
print('version: "4.0"\nactions:\n  first:\n    run: python:v2 true\n    config:')
print("      base: &base {" + ", ".join(f"k{n}: 1" for n in range(count)) + "}")
for n in range(count):
    print(f"      m{n}: {{<<: *base}}")
print("    outputs:\n      highly_sensitive:\n        o: output/o.txt")
