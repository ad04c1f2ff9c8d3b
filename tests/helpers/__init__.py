"""What several test files use: made data, experiments and inputs, ways to start the program, independent truth."""
