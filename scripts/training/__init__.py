"""What training needs: losses, optimiser and schedule, averaged weights, freezing, checkpoints, the run's log."""
