"""Trained runs behind HTTP."""
