"""Numbers -> tables, figures, TensorBoard."""
