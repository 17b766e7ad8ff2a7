"""The rates of admission by age group as a picture, drawn without any library."""

from pathlib import Path

from study import AGE_GROUPS, FEW, add_up, arguments, read

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 400, 60, 60, 50
COLOURS = {"female": "#0a7ea4", "male": "#d98e04"}

options = arguments("input", "--output")

groups = add_up(read(options.input), "sex", "age_group")
ages = [f"{low}-{high}" for low, high in AGE_GROUPS]
# To one in a hundred, and none from few events: a picture must not tell more than the table.
rates = {key: round(events / people, 2) for key, (people, events) in groups.items() if events > FEW}
top = max(rates.values(), default=0.1) * 1.1

parts = [
    f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
    'font-family="sans-serif" font-size="13">',
    '<rect width="100%" height="100%" fill="white"/>',
    f'<text x="{LEFT}" y="26" font-size="17">Admitted to hospital within a year</text>',
]
plot_height = HEIGHT - TOP - BOTTOM
for step in range(5):
    value = top * step / 4
    y = HEIGHT - BOTTOM - plot_height * step / 4
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
    parts.append(
        f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{100 * value:.0f} %</text>'
    )
slot = (WIDTH - LEFT - 20) / len(ages)
for place, age in enumerate(ages):
    x = LEFT + place * slot
    for side, (sex, colour) in enumerate(COLOURS.items()):
        height = plot_height * rates.get((sex, age), 0) / top
        parts.append(
            f'<rect x="{x + slot * (0.14 + 0.36 * side):.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
            f'width="{slot * 0.34:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )
    parts.append(
        f'<text x="{x + slot / 2:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{age}</text>'
    )
for side, (sex, colour) in enumerate(COLOURS.items()):
    x = LEFT + 110 * side
    parts.append(f'<rect x="{x}" y="{HEIGHT - 26}" width="13" height="13" fill="{colour}"/>')
    parts.append(f'<text x="{x + 19}" y="{HEIGHT - 15}">{sex}</text>')
parts.append("</svg>")

Path(options.output).parent.mkdir(parents=True, exist_ok=True)
Path(options.output).write_text("\n".join(parts) + "\n")
print(f"drew {len(rates)} bars to {options.output}")
