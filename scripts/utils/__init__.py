"""Preparing data, in this order: download or demo, labeled_tracks, verify, metadata, mels; then loading and figures."""
