"""The genre, or the labels, of audio files of any length, by a trained run.

python -m scripts.predict song.mp3 other.wav --run fma_cnn_3s --top 3
"""

import argparse
import json
import sys
from pathlib import Path

from scripts.cli import command, positive_int
from scripts.errors import AudioError, ConfigError
from scripts.predictor import Prediction, Predictor
from scripts.runs import ROOT, Run


def show(prediction: Prediction, top: int, as_json: bool) -> str:
    best = prediction.top(top)
    if as_json:
        return json.dumps(
            {
                "file": prediction.path,
                "seconds": round(prediction.seconds, 3),
                "windows": len(prediction.starts),
                "found": prediction.found,
                "probabilities": {name: round(value, 4) for name, value in best},
            },
            ensure_ascii=False,
        )
    found = "" if prediction.thresholds is None else f"{', '.join(prediction.found) or 'nothing found'} | "
    return f"{prediction.path}: {found}" + ", ".join(f"{name} {value:.1%}" for name, value in best)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="audio files of any length from one clip up")
    parser.add_argument("--run", required=True, help="name of a trained run, as in runs/reports/")
    parser.add_argument("--top", type=positive_int, default=3, help="how many genres or labels to print; default: 3")
    parser.add_argument(
        "--overlap", type=float, default=0.0, help="share of a window that the next repeats; default: 0"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--runs", type=Path, default=ROOT, metavar="FOLDER", help="default: runs")
    return parser.parse_args(argv)


@command
def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    predictor, failed = Predictor(Run(args.run, args.runs), args.overlap), 0
    for path in args.files:
        try:
            print(show(predictor(path), args.top, args.json), flush=True)
        except AudioError as error:
            print(f"skipped: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise ConfigError(f"{failed} of {len(args.files)} files could not be predicted; the reasons stand above")


if __name__ == "__main__":
    main()
