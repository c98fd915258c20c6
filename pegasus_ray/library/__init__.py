"""Where tracks, avatars, swaps and models are kept: keys, atomic writes, manifests, shards, the ledger."""
