"""What is new in an archive to lake files: plan, read, batch by batch."""
