"""Programs around a trained run: pages, an API, a tagger on a schedule. Each is thin over `inference.predictor`."""
