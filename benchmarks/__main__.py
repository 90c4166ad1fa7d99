"""Every speed benchmark, one after another, as a table in Markdown."""

from benchmarks import caching, loading, testing, training


def main() -> None:
    results = [benchmark.run() for benchmark in (caching, training, testing, loading)]
    print("\n| what | unit | plain | here | ratio (median) |\n|---|---|---|---|---|")
    for line in results:
        print(f"| {line['benchmark']} | {line['unit']} | {line['plain']} | {line['ours']} | {line['ratio']} × |")
    facts = results[0]
    print(f"\nCaching takes {facts['times_decoding']} × the time of decoding alone; {facts['worker_mb']} MB a worker.")
    print(f"{facts['cores']} cores.")


if __name__ == "__main__":
    main()
