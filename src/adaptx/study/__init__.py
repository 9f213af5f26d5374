"""The study: a grid of source languages, intermediate tasks, methods and seeds, its runs, statistics and report."""
