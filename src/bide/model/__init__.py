"""The values that every other part speaks about. No I/O, no clock, no behaviour beyond their own shape."""
