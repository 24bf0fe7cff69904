"""Measurements that anyone can repeat: `python -m benchmarks NAME`. Ratios in one run; seconds mean nothing."""
