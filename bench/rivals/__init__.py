"""The test bench's guests: what a user would pick instead. Runs in an environment of its own and imports nothing of ours."""
