"""How fast maillag reads, beside the tools that people use: `make bench` writes docs/performance.md."""
