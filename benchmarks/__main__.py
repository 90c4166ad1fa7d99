"""Every speed benchmark, one after another, as a table in Markdown."""

from typing import Any

from benchmarks import caching, loading, testing, training

BENCHMARKS = {"caching": caching.run, "training": training.run, "testing": testing.run, "loading": loading.run}


def main(**sizes: dict[str, Any]) -> None:
    """`sizes` has keywords of the `run` of a benchmark, by its name."""
    results = [run(**sizes.get(name, {})) for name, run in BENCHMARKS.items()]
    print("\n| what | unit | plain | here | ratio (median) |\n|---|---|---|---|---|")
    for line in results:
        print(f"| {line['benchmark']} | {line['unit']} | {line['plain']} | {line['ours']} | {line['ratio']} × |")
    facts = results[0]
    print(f"\nCaching takes {facts['times_decoding']} × the time of decoding alone; {facts['worker_mb']} MB a worker.")
    print(f"{facts['cores']} cores.")


if __name__ == "__main__":
    main()
