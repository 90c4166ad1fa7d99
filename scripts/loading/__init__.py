"""Cache and table -> batches."""
