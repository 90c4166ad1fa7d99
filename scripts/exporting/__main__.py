"""A trained run for other programs: ONNX graphs, and its weights in the layout of the Hugging Face hub."""

if __name__ == "__main__":  # as `python -m scripts export`
    from scripts.__main__ import run_file

    run_file("export")

import json
from pathlib import Path

from scripts.common.cli import command
from scripts.common.errors import ConfigError
from scripts.common.storage import write_aside
from scripts.config.run import Run
from scripts.exporting import graphs, hub
from scripts.inference import flags
from scripts.inference.predictor import Predictor
from scripts.inference.registry import find_run


def export_onnx(run: Run, predictor: Predictor, folder: Path, with_mel: bool = True, int8: bool = False) -> list[Path]:
    """Write the graphs of a run, each with its facts as metadata; returns the files.

    Parameters
    ----------
    with_mel : also the graph from waveforms.
    int8 : also each graph with weights of 8 bits; prints the largest difference of its probabilities.

    Raises
    ------
    ConfigError : ONNX cannot express the run, or a package is missing; nothing is written.
    """
    made = {"spectrogram": graphs.spectrogram_graph(predictor)}
    if with_mel:
        made["waveform"] = graphs.waveform_graph(predictor)
    if int8:
        for name, graph in list(made.items()):
            small = graphs.quantise(graph)
            print(f"{name}_int8: {graphs.compare_int8(small, graph, graphs.make_examples(predictor, name))}")
            made[f"{name}_int8"] = small
    import onnx

    facts = hub.gather_facts(run, predictor)
    metadata = {name: json.dumps(value, ensure_ascii=False) for name, value in facts.items()}
    paths = {folder / "onnx" / f"{name}.onnx": graph for name, graph in made.items()}
    for path, graph in paths.items():
        onnx.helper.set_model_props(graph, metadata)
        with write_aside(path) as temporary:
            temporary.write_bytes(graph.SerializeToString())
    return list(paths)


@command
def main(argv: list[str] | None = None) -> None:
    args = flags.export(argv)
    both = args.onnx == args.safetensors
    if (args.int8 or args.without_mel) and args.safetensors and not args.onnx:
        raise ConfigError("--int8 and --without-mel are about ONNX graphs; add --onnx, or leave out --safetensors")
    run = find_run(args.model, args.runs, args.registry)
    predictor, folder, written = Predictor(run), args.output or args.runs / "exported" / run.name, []
    if args.onnx or both:
        written += export_onnx(run, predictor, folder, not args.without_mel, args.int8)
    if args.safetensors or both:
        written += hub.write_hub_folder(run, predictor, folder)
    for path in written:
        print(f"{path}: {path.stat().st_size / 1000:,.0f} kB")
