"""The table for release: by sex and age group; counts rounded, small ones left out."""

from study import FEW, NEAREST, add_up, arguments, read, write


def shown(count):
    return "[few]" if count <= FEW else NEAREST * round(count / NEAREST)


options = arguments("input", "--output")

groups = add_up(read(options.input), "sex", "age_group")
rows = []
for (sex, age), (people, admitted) in sorted(groups.items()):
    people, admitted = shown(people), shown(admitted)
    hidden = "[few]" in (people, admitted)
    rows.append((sex, age, people, admitted, "" if hidden else f"{1000 * admitted / people:.0f}"))
write(options.output, ("sex", "age_group", "people", "admitted", "admitted_per_1000"), rows)
