"""Trained runs for other programs: ONNX graphs, and weights in the layout of the Hugging Face hub."""
