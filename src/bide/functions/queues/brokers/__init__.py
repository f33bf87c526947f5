"""What differs between brokers: connecting, receiving, counting, acknowledging. `base` has the seam."""
