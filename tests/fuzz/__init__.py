"""Fuzzing of everything that reads bytes which others wrote: `python -m tests.fuzz`, and a short dose in the tests.

A *target* is a module of `targets`: `check(data)` reads any bytes and asserts what must hold of the outcome, `seeds()`
are inputs to begin with, `TOKENS` are strings worth inserting. The same checks are run by atheris, which is led by
coverage, by hypothesis, which edits the corpus, and on the whole corpus in `tests/unit/test_fuzz.py`.
"""
