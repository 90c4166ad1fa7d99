"""A trained run on new files: predictor, folders, tags, playlists, registry, model card."""
