"""What all packages share: parts and attributes, schemas of tables, manifests, errors. It imports no other package of ours."""
