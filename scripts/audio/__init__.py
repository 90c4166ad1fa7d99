"""Audio file -> waveform -> spectrogram -> cache; augmentation and mixing."""
