"""Optional packages: what to install where one is missing."""

import importlib.util

from scripts.common.errors import ConfigError


def require(*packages: str, what: str) -> None:
    """A ConfigError that says `what` needs a package, and how to install it, where one of `packages` is missing."""
    for package in packages:
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise ConfigError(f"{what} needs the package {package}; install it: pip install {package}")
