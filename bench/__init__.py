"""Measures bide beside the machine's own limit, in the same run: `make bench`, or `python -m bench W1 W2`."""
