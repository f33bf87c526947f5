"""Measures other engines on our workloads, beside ours in the same run: `python -m bench.peers --help`.

Each engine is a module of `engines`, written as its own documentation advises, with the packages it needs in the file
beside it. They do not share our environment: the first run installs each into `build/peers/NAME`, and every workload runs
in a fresh process of that environment, on a fresh store (`child`). What is timed is the same for all (`trials`).
"""
