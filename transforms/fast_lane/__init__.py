"""The common lines of maillogs to events, by compiled loops over bytes."""
