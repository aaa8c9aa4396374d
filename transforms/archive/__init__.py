"""Which files of an archive are logs, and their bytes as blocks of whole lines."""
