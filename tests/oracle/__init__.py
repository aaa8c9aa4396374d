"""A second reading of the meanings: log histories, and plain loops that judge them without any SQL."""
