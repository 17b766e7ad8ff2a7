uv := `command -v uv || echo ~/.cache/opensafely-rap/uv/bin/uv`
pytest := ".venv/bin/python -m pytest"

# List the recipes
default:
    @just --list --unsorted

# --- Set up ---

# Make the Python environment, and .env from dotenv-sample if there is none
devenv:
    bash -c 'set -euo pipefail; source scripts/setup; set_up_python'
    cp --no-clobber dotenv-sample .env

# Take newer releases of all dependencies, none younger than a week
update-dependencies:
    sed -i "s/^exclude-newer = .*/exclude-newer = \"$(date --utc --date='7 days ago' +%Y-%m-%dT00:00:00Z)\"/" pyproject.toml
    {{ uv }} lock --upgrade
    {{ uv }} sync --locked

# --- Run it ---

# Run a real study end to end on this machine (--keep leaves it running)
demo *options:
    scripts/demo {{ options }}

# Run the whole system in this terminal until Ctrl-C
run *options:
    .venv/bin/rap dev {{ options }}

alias dev := run

# Run Temporal's development server alone, for the three below
run-temporal:
    mkdir -p var/dev
    .venv/bin/python -m infra.temporal.dev_server --db var/dev/temporal.sqlite --port 7233 --ui-port 8233

# Run the controller alone, with the settings of .env
run-controller: migrate (_with-env ".venv/bin/python -m worker_controller")

# Run the agent alone, with the settings of .env
run-agent: (_with-env ".venv/bin/python -m worker_agent")

# Run the HTTP API alone, with the settings of .env
run-app: migrate (_with-env ".venv/bin/python -m api")

# Run actions of a study on the system that runs, and follow them: add-job ~/studies/asthma run_all
add-job *arguments:
    if [ -e .env ]; then set -a; . ./.env; fi; .venv/bin/rap run {{ arguments }}

# Make or change the tables of the read model that .env names
migrate: (_with-env ".venv/bin/rap records upgrade")

_with-env command:
    @[ -e .env ] || { echo 'There is no .env: run `just devenv`.' >&2; exit 1; }
    set -a && . ./.env && exec {{ command }}

# --- Check it ---

# Set up, check and run all tests; with arguments run pytest alone with them
test *arguments:
    scripts/test {{ arguments }}

# Run the tests of pure code, in parallel
test-fast *arguments:
    {{ pytest }} -q --groups unit -n auto --dist worksteal {{ arguments }}

# Run tests one after another, with each one's name and what it logs
test-verbose *arguments:
    {{ pytest }} -vv -o log_cli=true -o log_cli_level=INFO {{ arguments }}

# Measure which branches the tests of pure code take; prints the total
coverage *arguments:
    scripts/coverage {{ arguments }}

# Check style, types and the import rules
check:
    scripts/check

# Mend style where that can be done by itself, and make the generated pages again
fix:
    .venv/bin/ruff check --fix
    .venv/bin/ruff format
    .venv/bin/python -m tools.settings_reference
    .venv/bin/python -m tools.timeouts_reference
    .venv/bin/python -m cli.reference
    .venv/bin/python -m tools.spec_coverage --write

# Count which acceptance items of docs/spec have a test, a recorded deviation, or neither
spec *options:
    scripts/spec-coverage {{ options }}

# --- What takes long ---

# Run all that takes minutes, or some of its groups; what this commit has passed is not run again
nightly *groups:
    scripts/nightly {{ groups }}

# Change planning, gate or paths in every way mutmut knows; count what the tests notice (minutes)
mutate part *options:
    scripts/mutate {{ part }} {{ options }}

# Kill the agent at 25 moments for each of four seeds (a quarter of an hour); prints a line for each
chaos *options:
    RAP_CHAOS_POINTS=25 RAP_CHAOS_SEEDS=1,2,3,4 scripts/test tests/chaos -s {{ options }}

# Run one of the measurements in bench/ (latency, scheduler, …); prints JSON
bench what="latency" *options:
    bench/{{ what }} {{ options }}

# Make the pictures of docs/how-to/web-ui.md again, with a real browser (a minute)
screenshots:
    scripts/screenshots
