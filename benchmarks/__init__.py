"""Speed and accuracy against the plain method, side by side in one run.

python -m benchmarks            every speed benchmark, as a table
python -m benchmarks.caching    one of them; the last line is JSON with `ratio`
"""
