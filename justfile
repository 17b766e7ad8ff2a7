# List the recipes
default:
    @just --list --unsorted

# Run a real study end to end on this machine (--keep leaves it running)
demo *options:
    scripts/demo {{ options }}

# Set up, check and run all tests; with arguments run pytest alone with them
test *arguments:
    scripts/test {{ arguments }}

# Check style, types and the import rules
check:
    scripts/check

# Mend style where that can be done by itself
fix:
    .venv/bin/ruff check --fix
    .venv/bin/ruff format
    .venv/bin/python -m infra.settings_reference

# Run one of the measurements in bench/ (latency, scheduler, …); prints JSON
bench what="latency" *options:
    bench/{{ what }} {{ options }}

# Make the pictures of docs/how-to/web-ui.md again, with a real browser (a minute)
screenshots:
    scripts/screenshots

# Run the whole system in this terminal until Ctrl-C
dev *options:
    .venv/bin/rap dev {{ options }}

# Change planning, gate or paths in every way mutmut knows; count what the tests notice (minutes)
mutate part *options:
    scripts/mutate {{ part }} {{ options }}

# Kill the agent at 25 moments for each of four seeds (a quarter of an hour); prints a line for each
chaos *options:
    RAP_CHAOS_POINTS=25 RAP_CHAOS_SEEDS=1,2,3,4 scripts/test tests/chaos -s {{ options }}
