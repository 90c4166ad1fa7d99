"""Audio classification from log-mel spectrograms: caching, training, ensemble testing, prediction."""
