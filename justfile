# `just` alone lists what there is.

set positional-arguments

_default:
    @just --list

# run the service (settings from the environment or .env; no setting at all: the simulated exchange)
run *ARGS:
    python -m rlflow "$@"

# run the test suite on every core, or a part of it: just test tests/test_units.py -k price
test *ARGS:
    python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal "$@"

# make everything go wrong, one thing at a time, the slow half too: just faults -k database
faults *ARGS:
    python -m pytest tests/faults -m "slow_fault or not slow_fault" "$@"

# format, lint, types, architecture: what must be clean before a commit
check:
    ruff format --check rlflow tests
    ruff check rlflow tests
    mypy
    python -m pytest -q tests/test_architecture.py

# rewrite the code in the project's format and apply the safe lint fixes
fix:
    ruff format rlflow tests
    ruff check --fix rlflow tests

# measure: messages a second from socket to durable row, latencies from arrival to visible book
bench *ARGS:
    python -m tests.bench "$@"

# how near the simulated market is to the recorded one: just calibrate --picture .images/calibration.png
calibrate *ARGS:
    python -m tests.calibrate "$@"

# record for so many minutes under load, cut connections and killed databases, and watch that nothing grows
soak MINUTES="10" *ARGS:
    python -m tests.soak "$@"

# compare what is installed with the vulnerabilities that are known; what could not be looked up is listed
vulnerabilities:
    pip-audit --progress-spinner off --skip-editable
