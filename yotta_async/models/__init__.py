"""What things are: pods, specs, statuses and ids. No I/O."""
