"""A fuzzer of the whole Python surface: sound calls with odd values, each judged by the contract of exceptions.

`surface` finds what may be called, `draw` writes call number i of a seed as Python source, from the `sound` values of
its parameters and from `odd` ones; `judge` runs it and says what broke the contract; `watch` runs many in workers that
it kills and starts again. `PYTHONPATH=tests python -m fuzz --replay SEED:INDEX` shows one call.
"""
