"""What several test files need: oracles, hostile inputs, noisy pictures, other processes."""
