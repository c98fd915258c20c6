"""The place where tracks, avatars, swaps and models live: keys, atomic writes, manifests, shards, the ledger."""
