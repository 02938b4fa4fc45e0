"""Trees of families: one layout, several pictures (`text`, `html`, `newick`, `as_json`).
Each picture has a `render`; import the one that is needed, for each brings its own libraries."""
