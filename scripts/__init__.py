"""Audio classification from log-mel spectrograms: caching, training, ensemble testing, prediction."""

import os

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch asks for large pages; read when torch is imported
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # threads that wait give way soon to other programs; read likewise
