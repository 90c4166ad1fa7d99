"""The networks besides `cnn4`, one file each; `scripts.models.build_model` finds them by name."""
