"""The published catalog to one HTML file, in English and Japanese."""
