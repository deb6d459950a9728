# Shorthands; `.ci/run` is the gate.

# The gate.
check:
    .ci/run

# The sets of the evaluation data through the product, and the README's table of them.
eval *ARGUMENTS:
    cargo build --release
    python3 bench/quality.py --markdown {{ARGUMENTS}}
