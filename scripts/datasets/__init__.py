"""One module per public dataset: its files -> a label table."""
