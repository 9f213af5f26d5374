"""The statistics of a study: pure functions over arrays, each with its source. Knows no study and no files."""
