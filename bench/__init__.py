"""Measures bide beside the machine's own limit, in the same run: `make bench`, or `python -m bench W1 W2`.

`make peers`, or `python -m bench.peers`, measures other engines on the same workloads.
"""
