"""Words that every room shares: parts and attributes, frame tables, manifests, errors. Imports nothing of ours."""
