"""The conformance kit of DMN, run by ``python -m tests.conformance [FOLDER]`` and, as a test, by pytest."""
