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

# Run one of the measurements in bench/ (latency, scheduler, …); prints JSON
bench what="latency" *options:
    bench/{{ what }} {{ options }}

# Run the whole system in this terminal until Ctrl-C
dev *options:
    .venv/bin/rap dev {{ options }}

# Change the planning rules in every way mutmut knows, and see that a test notices (minutes)
mutate *options:
    .venv/bin/mutmut run {{ options }}
    .venv/bin/mutmut results
