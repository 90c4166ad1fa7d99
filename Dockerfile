# The apps of scripts/apps on a CPU; docs/docker.md says how to run them, with and without Docker.
FROM python:3.12-slim

ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib

# runs/ and data/ lie in the volume /store, which the apps run in
RUN useradd --uid 1000 --create-home app && install --directory --owner app --group app /store

# the index has PyTorch without CUDA, which pip prefers to PyPI's wheel of the same version and which is 3 GB smaller
COPY requirements-base.txt requirements-apps.txt /app/
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r /app/requirements-apps.txt

COPY scripts /app/scripts

USER app
WORKDIR /store
VOLUME /store
EXPOSE 8000 7860 7861
CMD ["python", "-m", "scripts", "api", "--host", "0.0.0.0"]
