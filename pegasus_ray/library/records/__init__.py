"""What a library keeps about itself: the catalogue of its results, what people say about recordings, and the ledger of tries."""
