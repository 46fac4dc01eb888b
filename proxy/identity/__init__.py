"""Identity providers: where the keys come from that their tokens are verified with."""
