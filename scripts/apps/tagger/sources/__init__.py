"""Where the tagger finds sounds; each source keeps the contract in `contract`."""
