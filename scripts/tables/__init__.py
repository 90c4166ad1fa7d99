"""Label tables and label matrices, splits, folds, leaks and overrides."""
